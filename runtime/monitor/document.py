"""What ``GET /v2/models/M/monitor`` answers: how a served model is doing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.monitor.health import describe_errors, describe_latency

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinsmith.runtime.monitor.capture import Capture
    from tinsmith.runtime.monitor.health import Promise
    from tinsmith.runtime.monitor.watching import DriftWatch
    from tinsmith.runtime.server.serving import ServedModel, Watcher

__all__ = ["ALARMS", "SCHEMA", "alarms_of", "monitor_document"]

SCHEMA = 1
# by part of the document, the state that calls for somebody
ALARMS = {"drift": "drift", "latency": "slow", "errors": "errors"}


def monitor_document(
    served: ServedModel, watchers: Iterable[Watcher], *, promise: Promise | None = None
) -> dict[str, Any]:
    """Describe a served model.

    Args:
        served: The model.
        watchers: Those that see it; a ``DriftWatch`` and a ``Capture`` among them are described.
        promise: Of the bundle; None where it says nothing.

    Returns:
        ``model``, ``version``, ``sha256``, ``engine``, ``time_s``, ``ok``, and one part each for ``drift``,
        ``latency``, ``errors`` and ``capture`` (None where there is none); every part but the last has a ``state``.
    """
    from tinsmith.runtime.monitor.capture import Capture
    from tinsmith.runtime.monitor.watching import DriftWatch

    watching = tuple(watchers)
    snapshot = served.statistics.snapshot()
    watch = next((watcher for watcher in watching if isinstance(watcher, DriftWatch)), None)
    capture = next((watcher for watcher in watching if isinstance(watcher, Capture)), None)
    document: dict[str, Any] = {
        "monitor": SCHEMA,
        "model": served.servable.name,
        "version": served.servable.version,
        "sha256": served.servable.sha256,
        "engine": served.engine,
        "time_s": round(time.time(), 3),
        "drift": _drift(watch),
        "latency": describe_latency(snapshot, promise),
        "errors": describe_errors(snapshot),
        "capture": _capture(capture),
    }
    return {**document, "ok": not alarms_of(document)}


def alarms_of(document: dict[str, Any]) -> list[str]:
    """The parts of a document that call for somebody: ``drift``, ``latency``, ``errors``."""
    return [part for part, alarm in ALARMS.items() if document[part]["state"] == alarm]


def _drift(watch: DriftWatch | None) -> dict[str, Any]:
    if watch is None:
        return {"state": "no-reference", "statistics": []}
    report = watch.report()
    return {
        "state": report.state,
        "false_alarm": report.false_alarm,
        "reference_samples": report.reference_samples,
        "samples": report.samples,
        "window": watch.window,
        "every": watch.every,
        "began_s": round(watch.began_s, 3),
        "statistics": [comparison.to_json() for comparison in report.comparisons],
    }


def _capture(capture: Capture | None) -> dict[str, Any] | None:
    return None if capture is None else capture.to_json()
