"""What setting up has done, as people and machines see it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from tinsmith.devices.reaching import typed_line
from tinsmith.runtime.commands.output import facts, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from tinsmith.devices.device import Device
    from tinsmith.devices.setup.report import Outcome, SetUp

__all__ = ["setup_document", "setup_view"]


def setup_document(outcome: Outcome) -> dict[str, Any]:
    """One device, for machines."""
    if outcome.done is not None:
        return outcome.done.to_json()
    document: dict[str, Any] = {"device": outcome.device.name}
    if error := outcome.error:
        document["error"] = error.to_json()
    return document


def setup_view(outcomes: Sequence[Outcome]) -> list[RenderableType]:
    """All devices, one below the other."""
    return [part for outcome in outcomes for part in _outcome_view(outcome)]


def _outcome_view(outcome: Outcome) -> list[RenderableType]:
    if outcome.done is None:
        return ["" if outcome.error is None else f"{outcome.error.message}; {outcome.error.hint}", ""]
    return [facts(_facts(outcome.device, outcome.done)), "", _wheels(outcome.done), *outcome.done.notes, ""]


def _facts(device: Device, done: SetUp) -> list[tuple[str, object]]:
    total_s = sum(done.durations_ms.values()) / 1e3
    return [
        ("device", done.device),
        ("base folder", done.base),
        ("Python", done.python),
        ("engine", f"{done.engine} {done.facts.engines.get(done.engine, '')}"),
        ("agent", done.facts.agent),
        ("trusted keys", ", ".join(done.facts.keys) or "none"),
        *_server(device, done),
        ("sent", f"{done.sent_bytes:,} bytes"),
        ("took", f"{total_s:.1f} s"),
    ]


def _server(device: Device, done: SetUp) -> list[tuple[str, object]]:
    if done.unit:
        return [("server", done.unit)]
    return [("server", "by hand; this starts it:"), ("", typed_line(device, shlex.quote(f"{done.base}/serve")))]


def _wheels(done: SetUp) -> RenderableType:
    rows = [
        [
            wheel.package,
            wheel.version,
            wheel.size_bytes,
            wheel.sent_bytes,
            done.durations_ms.get(f"send {wheel.package}"),
            done.durations_ms.get(f"unpack {wheel.package}"),
        ]
        for wheel in done.wheels
    ]
    return table(["package", "version", "bytes", "sent", "send ms", "unpack ms"], rows)
