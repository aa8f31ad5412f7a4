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

__all__ = ["ALARMS", "SCHEMA", "alarms_of", "is_monitor_document", "monitor_document"]

SCHEMA = 1
# by part of the document, the state that calls for somebody
ALARMS = {"drift": "drift", "latency": "slow", "errors": "errors"}
# what whoever reads a document counts on
_PARTS = {
    "drift": {"state", "statistics"},
    "latency": {"state", "p50_ms", "promised_p50_ms"},
    "errors": {"state", "requests", "faults", "failures"},
}
_WATCHED = {"samples", "began_s", "reference_samples", "false_alarm"}
_FOUND = {"side", "tensor", "statistic", "test", "figure", "threshold", "drifted"}


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


def is_monitor_document(value: object) -> bool:
    """Whether this is what ``monitor_document`` gives, or an entry for a model that does not serve."""
    if not isinstance(value, dict) or not isinstance(value.get("model"), str) or not isinstance(value.get("ok"), bool):
        return False
    if "drift" not in value:
        return isinstance(value.get("state"), str)
    if not all(_has(value.get(part), keys) for part, keys in _PARTS.items()):
        return False
    drift, capture = value["drift"], value.get("capture")
    return (
        (drift["state"] == "no-reference" or _has(drift, _WATCHED))
        and isinstance(drift["statistics"], list)
        and all(_has(found, _FOUND) for found in drift["statistics"])
        and (capture is None or _has(capture, {"samples", "path"}))
    )


def _has(value: object, keys: set[str]) -> bool:
    return isinstance(value, dict) and keys <= value.keys()


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
