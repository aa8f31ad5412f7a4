"""What live devices said, as people and machines see it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tinsmith.devices.probing import disagreements
from tinsmith.runtime.commands.output import facts, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from tinsmith.devices.probing import Look, Probed

__all__ = ["probe_document", "probe_view"]


def probe_document(look: Look) -> dict[str, Any]:
    """One device, for machines."""
    document: dict[str, Any] = {"device": look.device.name, "profile": look.device.profile.name}
    if look.error is not None:
        error = look.error
        document["error"] = error.to_json()
    if look.probed is not None:
        found = disagreements(look.device.profile, look.probed)
        document |= {"probed": look.probed.to_json(), "disagreements": [asdict(one) for one in found]}
    return document


def probe_view(looks: Sequence[Look]) -> list[RenderableType]:
    """All devices, one below the other."""
    return [part for look in looks for part in _look_view(look)]


def _look_view(look: Look) -> list[RenderableType]:
    name, profile = look.device.name, look.device.profile
    if look.probed is None:
        said = "" if look.error is None else f"{look.error.message}; {look.error.hint}"
        return [f"{name}: {said}", ""]
    view: list[RenderableType] = [facts([("device", f"{name} ({look.device.address})"), *_facts(look.probed)]), ""]
    found = disagreements(profile, look.probed)
    if not found:
        return [*view, f"{name} agrees with {profile.name} in all that it said.", ""]
    rows = [[one.what, one.profile, one.device] for one in found]
    return [*view, table(["not as the profile says", profile.name, name], rows)]


def _facts(probed: Probed) -> list[tuple[str, object]]:
    cpu = probed.cpu
    rows: list[tuple[str, object]] = [
        ("system", f"{probed.system}, {probed.machine}"),
        ("CPU", "" if cpu is None else f"{cpu.arch}: {', '.join(sorted(cpu.features)) or 'no feature that counts'}"),
        ("RAM", _bytes(probed.ram_bytes)),
        ("disk", _bytes(probed.disk_bytes)),
        ("free", _bytes(probed.disk_free_bytes)),
        ("Python", probed.python),
        *(("engine", f"{name} {version}") for name, version in probed.engines.items()),
    ]
    return [(name, said or "not said") for name, said in rows]


def _bytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes:,} bytes"
