"""What ``/metrics`` says, for Prometheus; times are in seconds, sizes in bytes."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime._version import __version__
from tinsmith.runtime.server.exposition import Exposition
from tinsmith.runtime.server.heat import read_heat
from tinsmith.runtime.server.statistics import BUCKETS_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tinsmith.runtime.monitor.drift import DriftReport
    from tinsmith.runtime.server.heat import Heat
    from tinsmith.runtime.server.serving import ModelState, Servable
    from tinsmith.runtime.server.statistics import Durations, Snapshot, Statistics

__all__ = ["MeteredModel", "ServerFacts", "metrics_text"]

_ENDS_S = (*BUCKETS_S, math.inf)


class MeteredModel(Protocol):
    """What is read of a model that serves.

    Attributes:
        servable: What is loaded.
        engine: Name and version.
        statistics: Counts and times.
    """

    servable: Servable
    engine: str
    statistics: Statistics

    @property
    def waiting(self) -> int:
        """How many requests wait for an interpreter."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What is known of the server itself.

    Attributes:
        started_s: When it was started, on ``time.monotonic``'s clock.
        states: The repository's index.
        events: How often by model and event: ``load``, ``swap``, ``refusal``, ``unload``, ``rollback``.
        drift: By model; one without a reference is left out.
    """

    started_s: float
    states: Sequence[ModelState] = ()
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)
    drift: Mapping[str, DriftReport] = field(default_factory=dict)


def metrics_text(models: Iterable[MeteredModel], server: ServerFacts, heat: Heat | None = None) -> str:
    """Write the page: the server first, then models by name, families in a stable order.

    Args:
        models: Those that serve.
        server: The server itself.
        heat: The machine's; None reads it now.
    """
    page = Exposition()
    _write_server(page, server)
    _write_heat(page, read_heat() if heat is None else heat)
    for model in sorted(models, key=lambda model: model.servable.name):
        labels = {"model": model.servable.name, "version": model.servable.version}
        snapshot = model.statistics.snapshot()
        _write_model(page, model, labels)
        _write_counts(page, snapshot, labels)
        _write_times(page, snapshot, labels)
        if model.servable.name in server.drift:
            _write_drift(page, server.drift[model.servable.name], labels)
    return page.text()


def _write_server(page: Exposition, server: ServerFacts) -> None:
    page.gauge("tinsmith_info", "The server's version.", 1, version=__version__)
    page.gauge("tinsmith_uptime_seconds", "Since the server was started.", time.monotonic() - server.started_s)
    resident_bytes = _resident_bytes()
    if resident_bytes is not None:
        page.gauge("process_resident_memory_bytes", "Resident memory of this process.", resident_bytes)
    for state in sorted(server.states, key=lambda state: state.name):
        ready = state.state == "READY"
        page.gauge("tinsmith_model_ready", "Whether the model serves.", int(ready), model=state.name)
    for (model, event), count in sorted(server.events.items()):
        said = "Loads, swaps, refusals, unloads and rollbacks."
        page.counter("tinsmith_model_events_total", said, count, model=model, event=event)


def _write_heat(page: Exposition, heat: Heat) -> None:
    for (zone, kind), celsius in heat.celsius.items():
        page.gauge("tinsmith_temperature_celsius", "Of a thermal zone.", celsius, zone=zone, type=kind)
    if heat.throttled is not None:
        page.gauge("tinsmith_cpu_throttled", "Whether the processor is slowed down now.", int(heat.throttled))
    if heat.low_voltage is not None:
        page.gauge("tinsmith_low_voltage", "Whether the supply is too weak now.", int(heat.low_voltage))
    if heat.throttle_events is not None:
        said = "How often cores were slowed down since the machine was started."
        page.counter("tinsmith_cpu_throttle_events_total", said, heat.throttle_events)


def _write_model(page: Exposition, model: MeteredModel, labels: dict[str, str]) -> None:
    said = "What serves: the artifact's sha256, and the engine that runs it."
    page.gauge("tinsmith_model_info", said, 1, **labels, sha256=model.servable.sha256, engine=model.engine)
    page.gauge("tinsmith_queue_depth", "Requests that wait for an interpreter.", model.waiting, **labels)


def _write_counts(page: Exposition, snapshot: Snapshot, labels: dict[str, str]) -> None:
    requests = "Whole requests, answered or not."
    page.counter("tinsmith_requests_total", requests, snapshot.success.count, **labels, outcome="success")
    page.counter("tinsmith_requests_total", requests, snapshot.failure.count, **labels, outcome="failure")
    page.counter("tinsmith_inferences_total", "Samples answered.", snapshot.inferences, **labels)
    page.counter("tinsmith_executions_total", "Runs of the engine.", snapshot.executions, **labels)
    for reason, count in sorted(snapshot.failures.items()):
        page.counter("tinsmith_request_failures_total", "Requests not answered.", count, **labels, reason=reason)


def _write_times(page: Exposition, snapshot: Snapshot, labels: dict[str, str]) -> None:
    families: dict[str, tuple[str, Durations]] = {
        "request": ("A whole request that was answered, from its last byte to the answer's first.", snapshot.success),
        "queue": ("Waiting for an interpreter.", snapshot.queue),
        "compute_input": ("Making arrays of what the client sent.", snapshot.compute_input),
        "compute_infer": ("Running the model.", snapshot.compute_infer),
        "compute_output": ("Making an answer of what came out.", snapshot.compute_output),
    }
    for name, (said, durations) in families.items():
        buckets = zip(_ENDS_S, durations.buckets, strict=True)
        family = f"tinsmith_{name}_duration_seconds"
        page.histogram(family, said, buckets, total=durations.total_ns / 1e9, labels=labels)


def _write_drift(page: Exposition, report: DriftReport, labels: dict[str, str]) -> None:
    page.gauge("tinsmith_drifted", "Whether the window has drifted.", int(report.state == "drift"), **labels)
    page.gauge("tinsmith_drift_window_samples", "Samples in the window.", report.samples, **labels)
    for found in report.comparisons:
        side, tensor, statistic = found.statistic
        told = {**labels, "side": side, "tensor": tensor, "statistic": statistic, "test": found.test}
        page.gauge("tinsmith_drift", "How far the window lies from the reference.", found.figure, **told)
        page.gauge("tinsmith_drift_threshold", "What chance alone does not pass.", found.threshold, **told)


def _resident_bytes() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
