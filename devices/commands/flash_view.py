"""How a flash goes on, on stderr, and what came of it, as people see it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tinsmith.devices.reaching import typed_line
from tinsmith.runtime.agent.answers import NOT_RUNNING
from tinsmith.runtime.bundle.naming import short_id
from tinsmith.runtime.commands.output import console, facts, table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from typing_extensions import Self

    from tinsmith.devices.device import Device
    from tinsmith.devices.flashing.deployment import Deployment
    from tinsmith.runtime.agent.answers import Bundled

__all__ = ["Following", "bundled_said", "flash_view", "held_row", "server_rows"]


class Following:
    """A line on stderr that says the stage, and a bar while bytes go; silent under ``-q`` and where nobody looks."""

    def __init__(self, device: str) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        loud = logging.getLogger("tinsmith").isEnabledFor(logging.INFO)
        screen = console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            console=screen, transient=True, disable=not (loud and screen.is_terminal),
        )  # fmt: skip
        self._device = device
        self._task = self._progress.add_task(device, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, name: str) -> None:
        """See ``Watching``."""
        self._progress.update(self._task, description=f"{self._device}: {name}", total=None)

    def sent(self, done_bytes: int, size_bytes: int) -> None:
        """See ``Watching``."""
        self._progress.update(self._task, completed=done_bytes, total=size_bytes)


def flash_view(device: Device, deployment: Deployment) -> list[RenderableType]:
    """What came of flashing one device."""
    before = "nothing" if deployment.before is None else bundled_said(deployment.before)
    rows: list[tuple[str, object]] = [
        ("device", f"{deployment.device} ({deployment.address})"),
        held_row(deployment.active, deployment.served),
        ("before", before if deployment.changed else "the same; nothing was changed"),
        ("sent", _sent(deployment)),
    ]
    if deployment.engine:
        ran = f"{deployment.engine} {deployment.engine_version}".rstrip() + " on the device"
        rows.append(("checked by", f"{ran}: {deployment.golden or 'loaded and run; it has no golden samples'}"))
    rows.extend(server_rows(device, deployment.served, deployment.start))
    if not deployment.verified:
        rows.append(("checked by", "nobody: unverified on device"))
    if deployment.active.signed_by:
        rows.append(("signed by", deployment.active.signed_by))
    times = [[stage, f"{spent_ms / 1e3:.2f} s"] for stage, spent_ms in deployment.durations_ms.items()]
    return [facts(rows), "", *([table(["stage", "took"], times)] if deployment.changed else [])]


def held_row(active: Bundled | None, served: str) -> tuple[str, object]:
    """What is active: served only where a server was asked and answers with it; see ``InstalledBundle.served``."""
    word = "holds" if served in {"", NOT_RUNNING} else "serves"
    return word, "nothing yet" if active is None else bundled_said(active)


def server_rows(device: Device, served: str, start: str) -> list[tuple[str, object]]:
    """What the server of a device says, and how to start one that does not run."""
    if not served:
        return []
    if served != NOT_RUNNING or not start:
        return [("server", served)]
    return [("server", f"{served}; this starts it:"), ("", typed_line(device, start))]


def bundled_said(bundled: Bundled) -> str:
    """Name, version and id."""
    return f"{bundled.name} version {bundled.version} ({short_id(bundled.sha256)})"


def _sent(deployment: Deployment) -> str:
    sent = deployment.sent
    if not sent.form:
        return "nothing: all of it was there"
    forms = {"whole": "as it is", "lzma": "packed", "bsdiff": "as a patch against what was there"}
    resumed = f"; {sent.resumed_bytes:,} were there from before" if sent.resumed_bytes else ""
    share = 100 * sent.size_bytes / deployment.active.size_bytes
    whole = f"of {deployment.active.size_bytes:,} ({share:.1f} %)"
    return f"{sent.size_bytes:,} bytes {whole}, {forms[sent.form]}{resumed}"
