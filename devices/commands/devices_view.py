"""Devices, profiles and fits as people see them, and profiles as documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.commands.output import facts, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from tinsmith.devices.device import Device
    from tinsmith.devices.fit import Finding, Fit, Load
    from tinsmith.devices.inventory import Inventory
    from tinsmith.runtime.profile import EngineThere, Profile, Reference

__all__ = ["device_facts", "fit_view", "overview_of", "profile_document", "profile_view"]


def profile_document(profile: Profile) -> dict[str, Any]:
    """All that a profile says, for reports."""
    cpu = profile.cpu
    document = asdict(profile)
    if cpu is not None:
        document["cpu"]["features"] = sorted(cpu.features)
    return document


def overview_of(inventory: Inventory, profiles: Sequence[Profile]) -> list[RenderableType]:
    """Devices above, profiles below."""
    mine = [
        [device.name, device.profile.name, device.address, ", ".join((*device.groups, *device.tags)) or "-"]
        for device in inventory.devices
    ]
    none = f"No devices in {inventory.path}; `tinsmith devices add NAME --profile P --address A` writes one."
    known = [[p.name, p.kind, _mib(p.ram_bytes), _engines(p), ", ".join(p.aliases) or "-"] for p in profiles]
    above = table(["device", "profile", "address", "groups and tags"], mine) if mine else none
    return [above, "", table(["profile", "kind", "RAM MiB", "engines", "also named"], known)]


def device_facts(device: Device) -> RenderableType:
    """One device of the inventory."""
    rows: list[tuple[str, object]] = [
        ("device", device.name),
        ("profile", device.profile.name),
        ("address", device.address),
        ("groups", ", ".join(device.groups)),
        ("tags", ", ".join(device.tags)),
        ("host key", device.host_key),
        ("base folder", device.base),
        ("trusted keys", ", ".join(device.trust)),
        ("runner", device.runner),
    ]
    return facts([(name, said) for name, said in rows if said])


def profile_view(profile: Profile) -> list[RenderableType]:
    """One profile, with the source of each figure behind it."""
    view: list[RenderableType] = [facts(list(_facts(profile)))]
    if not profile.references:
        return view
    columns = ["published elsewhere", "precision", "size", "ms", "statistic", "on", "runtime", "threads"]
    rows = [_reference(reference) for reference in profile.references]
    remarks = {f"{r.model}, {r.runtime}: {r.remark}." for r in profile.references if r.remark}
    wheres = {f"{r.runtime}: {r.source.where} ({r.source.date})" for r in profile.references}
    return [*view, "", table(columns, rows), *sorted(remarks), *sorted(wheres)]


def fit_view(load: Load, fits: Sequence[Fit]) -> list[RenderableType]:
    """One table a device, and the verdict above it."""
    view: list[RenderableType] = []
    for fit in fits:
        kind = "" if fit.device == fit.profile else f" ({fit.profile})"
        view.append(f"{load.name} {'fits' if fit.fits else 'does not fit'} {fit.device}{kind}")
        view.append(table(["what", "fits", "why"], [[f.what, _verdict(f), f.said] for f in fit.findings]))
    return view


def _facts(profile: Profile) -> Iterator[tuple[str, object]]:
    yield "profile", profile.name + (f", also {', '.join(profile.aliases)}" if profile.aliases else "")
    yield "title", profile.title
    yield "kind", profile.kind
    if profile.soc:
        yield "chip", profile.soc
    if profile.cpu is not None:
        clock = "" if profile.cpu.max_mhz is None else f", {profile.cpu.max_mhz:,} MHz"
        yield "CPU", f"{profile.cpu.model}{clock}; {profile.cpu.arch}: {', '.join(sorted(profile.cpu.features))}"
    for name, value in (("RAM", profile.ram_bytes), ("storage", profile.flash_bytes)):
        if value is not None:
            yield name, f"{value:,} bytes"
    yield "threads", profile.threads
    for engine in profile.engines:
        yield "engine", _engine(engine)
    for accelerator in profile.accelerators:
        dtypes = f", {', '.join(accelerator.dtypes)}" if accelerator.dtypes else ""
        memory = "" if accelerator.memory_bytes is None else f", {accelerator.memory_bytes:,} bytes of its own"
        needs = f"; needs {accelerator.needs}" if accelerator.needs else ""
        yield "accelerator", f"{accelerator.name}{dtypes}{memory}{needs}"
    yield "reached by", ", ".join(profile.transports)
    for key, source in profile.sources.items():
        yield f"source of {key}", f"{source.trust}, {source.date}: {source.where}"


def _engine(engine: EngineThere) -> str:
    versions = f" {engine.oldest} to {engine.newest}" if engine.newest else ", the version that is installed"
    return f"{engine.name}{versions}" + (f", by a {engine.through} that you supply" if engine.through else "")


def _engines(profile: Profile) -> str:
    return ", ".join(engine.name for engine in profile.engines)


def _mib(size_bytes: int | None) -> object:
    return None if size_bytes is None else size_bytes // 2**20


def _reference(reference: Reference) -> list[object]:
    r = reference
    threads = "-" if r.threads is None else r.threads
    return [r.model, r.precision, r.size, f"{r.value_ms:g}", r.statistic, r.accelerator, r.runtime, threads]


def _verdict(finding: Finding) -> str:
    if finding.estimated and finding.fits is None:
        return "estimate"
    return {True: "yes", False: "no", None: "-"}[finding.fits]
