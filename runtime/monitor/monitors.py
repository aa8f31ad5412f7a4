"""The watchers of a server's models: who is made for which, and what they say."""

from __future__ import annotations

import contextlib
import threading
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import OutputError
from tinsmith.runtime.files import check_writable
from tinsmith.runtime.monitor.document import monitor_document
from tinsmith.runtime.monitor.drift import FALSE_ALARM, WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.runtime.monitor.capture import Capture, CaptureLimits
    from tinsmith.runtime.monitor.drift import DriftReport
    from tinsmith.runtime.monitor.health import Promise
    from tinsmith.runtime.monitor.watching import DriftWatch
    from tinsmith.runtime.server.serving import Servable, ServedModel, Watcher
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["MonitorSettings", "Monitors"]

# The version that serves, and one that may take its place, or may yet be refused.
_KEPT_VERSIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """How a server's models are watched.

    Attributes:
        window: Samples that drift is judged by.
        every: Every so manieth request is measured.
        false_alarm: The share of windows without drift that may be called drifted.
        capture: The folder that inputs are captured in, made if it is missing; None for none.
        capture_limits: How many, and for how long; None for the usual.
    """

    window: int = WINDOW
    every: int = 1
    false_alarm: float = FALSE_ALARM
    capture: Path | None = None
    capture_limits: CaptureLimits | None = None


@dataclass(slots=True)
class _Watched:
    """The watches of one name by version and hash, newest last; and its capture, which outlives versions."""

    watches: dict[tuple[str, str], DriftWatch | None] = field(default_factory=dict)
    capture: Capture | None = None


class Monitors:
    """Makes watchers as models are loaded, and describes them; safe to call from many threads at once.

    A new version starts with an empty window. It goes on filling the capture, unless it takes other inputs.
    """

    def __init__(self, settings: MonitorSettings | None = None) -> None:
        self._settings = settings or MonitorSettings()
        self._lock = threading.Lock()
        self._models: dict[str, _Watched] = {}

    def watch(self, servable: Servable, inputs: Sequence[TensorSpec]) -> tuple[Watcher, ...]:
        """The watchers of a version that is about to serve.

        Raises:
            UsageError: Its inputs can't be captured.
            OutputError: There is no folder for the capture that can be written to.
        """
        with self._lock:
            watched = self._models.setdefault(servable.name, _Watched())
            watch = self._drift_watch(servable)
            key = (servable.version, servable.sha256)
            watched.watches.pop(key, None)
            watched.watches[key] = watch
            for old in list(watched.watches)[:-_KEPT_VERSIONS]:
                del watched.watches[old]
            capture = self._capture(watched, servable.name, inputs)
        return tuple(watcher for watcher in (watch, capture) if watcher is not None)

    def document(self, served: ServedModel, *, promise: Promise | None = None) -> dict[str, Any]:
        """What ``GET /v2/models/M/monitor`` answers; see ``monitor_document``."""
        watch, capture = self._found(served.servable)
        watchers = [watcher for watcher in (watch, capture) if watcher is not None]
        return monitor_document(served, watchers, promise=promise)

    def drift(self, servable: Servable) -> DriftReport | None:
        """How a version's window compares with its reference; None where it has none."""
        watch, _ = self._found(servable)
        return None if watch is None else watch.report()

    def close(self) -> None:
        """Write what is captured a last time; raises ``OutputError`` where one can't be."""
        with self._lock, contextlib.ExitStack() as closing:
            for watched in self._models.values():
                if watched.capture is not None:
                    closing.callback(watched.capture.close)

    def _found(self, servable: Servable) -> tuple[DriftWatch | None, Capture | None]:
        with self._lock:
            watched = self._models.get(servable.name, _Watched())
            return watched.watches.get((servable.version, servable.sha256)), watched.capture

    def _drift_watch(self, servable: Servable) -> DriftWatch | None:
        if servable.reference is None:
            return None
        from tinsmith.runtime.monitor.watching import DriftWatch

        settings = self._settings
        return DriftWatch(
            servable.reference, window=settings.window, every=settings.every, false_alarm=settings.false_alarm
        )

    def _capture(self, watched: _Watched, name: str, inputs: Sequence[TensorSpec]) -> Capture | None:
        if self._settings.capture is None:
            return None
        from tinsmith.runtime.monitor.capture import Capture

        if watched.capture is None or watched.capture.inputs != tuple(inputs):
            if watched.capture is not None:
                watched.capture.close()
            path = self._settings.capture / f"{urllib.parse.quote(name, safe=' ')}.npz"
            _make_private(path.parent)
            check_writable(path)
            watched.capture = Capture(path, inputs, limits=self._settings.capture_limits)
            watched.capture.start()
        return watched.capture


def _make_private(folder: Path) -> None:
    """Make a folder for its owner alone, where there is none."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {folder}: {error.strerror}", hint="capture to a folder that can be written to"
        ) from error
