"""What devices serve, and what was gone back to, as people and machines see it."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tinsmith.devices.commands.flash_view import bundled_said, held_row, server_rows
from tinsmith.runtime.commands.output import facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from tinsmith.devices.flashing.deploying import Standing, WentBack
    from tinsmith.runtime.agent.answers import DeviceStatus, InstalledBundle

__all__ = ["rollback_document", "rollback_view", "status_view"]

_NO_OTHER = "nothing: no other bundle is left there to go back to"


def status_view(found: Sequence[Standing]) -> list[RenderableType]:
    """One device below the other."""
    return [part for one in found for part in (facts(_rows(one)), "")]


def _rows(one: Standing) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("device", f"{one.device.name} ({one.device.address})")]
    if one.status is not None:
        rows.extend(_status_rows(one.status, "" if one.health is None else one.health.served))
    if one.health is not None:
        rows.append(("healthy", f"hashes hold; {_ran(one.health)}"))
        rows.extend(server_rows(one.device, one.health.served, one.health.start))
    if one.error is not None:
        rows.extend([("error", one.error.message), ("hint", one.error.hint)])
    return rows


def _ran(health: InstalledBundle) -> str:
    if not health.engine:
        return "nothing there can run it"
    return f"{health.engine} {health.engine_version}".rstrip() + f": {health.golden or 'loaded and run'}"


def _status_rows(status: DeviceStatus, served: str) -> list[tuple[str, object]]:
    active, previous = status.active, status.previous
    rows = [held_row(active, served)]
    if active is not None:
        rows.append(("rollback to", _NO_OTHER if previous is None else bundled_said(previous)))
        rows.append(("signed by", active.signed_by or "nobody"))
        rows.extend([] if active.verified else [("checked by", "nobody: unverified on device")])
    if status.trial_until_s is not None:
        until = datetime.datetime.fromtimestamp(status.trial_until_s, tz=datetime.timezone.utc)
        rows.append(("on trial", f"until {until:%Y-%m-%d %H:%M:%S} UTC by the device's clock; then it is taken back"))
    if status.busy:
        rows.append(("busy", "somebody is updating it right now"))
    if status.unwritable:
        rows.append(("disk", f"nothing can be written there: {status.unwritable}"))
    if status.resolved:
        rows.append(("brought to rest", status.resolved))
    return [*rows, ("audit log", f"its last line is {status.audit_head[:12]}")]


def rollback_document(back: WentBack) -> dict[str, Any]:
    """One device, for machines."""
    error = back.error
    return {
        "device": back.device.name,
        "rolled_back": None if back.answer is None else asdict(back.answer),
        "error": None if error is None else error.to_json(),
    }


def rollback_view(backs: Sequence[WentBack]) -> list[RenderableType]:
    """One device below the other."""
    return [part for back in backs for part in (facts(_back_rows(back)), "")]


def _back_rows(back: WentBack) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("device", f"{back.device.name} ({back.device.address})")]
    if back.answer is not None:
        active = back.answer.active
        rows.append(("holds", "nothing" if active is None else bundled_said(active)))
        rows.append(("taken back", bundled_said(back.answer.taken_back)))
    if back.error is not None:
        rows.extend([("error", back.error.message), ("hint", back.error.hint)])
    return rows
