"""One measuring process: check the hash, load in a child, warm up, time, and say under which conditions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import ModelError, ModelLoadError, VerificationError
from tinsmith.runtime.feeds import random_feeds
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.measurement import ProcessRun
from tinsmith.runtime.measuring.conditions import Machine, read_conditions, read_machine
from tinsmith.runtime.measuring.energy import open_gauge
from tinsmith.runtime.measuring.usage import read_counters, usage_between
from tinsmith.runtime.operator_times import OperatorTimes
from tinsmith.runtime.placement import Placement
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields
    from tinsmith.runtime.measuring.energy import Gauge
    from tinsmith.runtime.measuring.requests import Amount, Measure
    from tinsmith.runtime.stages import Stages
    from tinsmith.runtime.timing import WarmUp

__all__ = ["Measured", "check_artifact", "measure", "operators_of", "time_amount"]

_PROFILED_RUNS = 20
# The runs that tell how many there will be.
_SCOUTS, _SCOUTING_NS = 32, 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one process has measured, and of what.

    Attributes:
        engine: Its name.
        engine_version: Of its package.
        accelerator: What it ran on.
        placement: Where its operators ran.
        machine: What the device is.
        process: Samples and conditions.
    """

    engine: str
    engine_version: str
    accelerator: str
    placement: Placement
    machine: Machine
    process: ProcessRun

    def to_json(self) -> dict[str, Any]:
        """The answer's fields."""
        return {
            "engine": self.engine,
            "engine_version": self.engine_version,
            "accelerator": self.accelerator,
            "placement": self.placement.to_json(),
            "machine": self.machine.to_json(),
            "process": self.process.to_json(),
        }

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From the answer; raises ``DataError``."""
        return cls(
            engine=fields.text("engine"),
            engine_version=fields.text("engine_version"),
            accelerator=fields.text("accelerator"),
            placement=Placement.read(fields.table("placement")),
            machine=Machine.read(fields.table("machine")),
            process=ProcessRun.read(fields.table("process")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timings:
    """What came of the timed runs."""

    samples_ns: tuple[int, ...]
    runs: int
    query_ns: int
    kept_every: int
    peak_memory_bytes: int


def measure(base: Path, request: Measure, stages: Stages) -> Measured:
    """Measure an artifact in a process of its own.

    Args:
        base: What the request's path is seen from.
        request: What, and how much.
        stages: Says afterwards in which stage it failed.

    Raises:
        VerificationError: The file is another than was meant.
        ModelLoadError: The file can't be read, or the engine refused it or died on it.
        ModelTimeoutError: It did not load or answer in time.
        MissingDependencyError: The engine is not installed.
        AcceleratorError: No accelerator of the list took the model.
        UsageError: The engine does not run this format.
    """
    path = base / request.path
    # the gauge comes first: what idles is this machine without the child; its imports overlap with the hash
    with open_gauge() as gauge, Sandbox(time_limit_s=request.time_limit_s) as sandbox:
        with stages.at("checking"):
            check_artifact(path, request.sha256)
        return _in_sandbox(sandbox, path, request, stages, gauge)


def _in_sandbox(sandbox: Sandbox, path: Path, request: Measure, stages: Stages, gauge: Gauge) -> Measured:
    with stages.at("loading"):
        opened = sandbox.open(
            path, engine=request.engine or None, accelerator=request.accelerator, threads=request.threads
        )
    feeds = random_feeds(opened.inputs, seed=request.seed)
    with stages.at("warm-up"):
        warmed = sandbox.warm_up(feeds, limit_ns=round(request.amount.warm_s * 1e9))
    with stages.at("measuring"):
        process = _timed(sandbox, feeds, request, warmed, gauge)
    return Measured(
        engine=opened.engine,
        engine_version=opened.version,
        accelerator=opened.accelerator,
        placement=opened.placement,
        machine=read_machine(),
        process=process,
    )


def check_artifact(path: Path, sha256: str) -> None:
    """Make sure that a file is the one that was meant; raises as ``measure``."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelLoadError(
            f"cannot read {path}: {error.strerror}", hint="measure it again: it is sent anew"
        ) from error
    if found != sha256:
        raise VerificationError(
            f"{path} is another file than was meant: its sha256 is {found[:12]}…", hint="measure it again"
        )


def _timed(
    sandbox: Sandbox, feeds: Mapping[str, NDArray[np.generic]], request: Measure, warmed: WarmUp, gauge: Gauge
) -> ProcessRun:
    before, counters = read_conditions(), read_counters(sandbox.pid)
    gauge.begin()
    timings = time_amount(
        lambda runs, budget_ns, every: sandbox.time_some(feeds, runs=runs, budget_ns=budget_ns, every=every),
        request.amount,
    )
    energy = gauge.energy()
    usage, after = usage_between(counters, read_counters(sandbox.pid)), read_conditions()
    return ProcessRun(
        load_ms=sandbox.opened.load_ms,
        first_ms=warmed.first_ns / 1e6,
        warmup_runs=warmed.runs,
        steady=warmed.steady,
        runs=timings.runs,
        query_ns=timings.query_ns,
        kept_every=timings.kept_every,
        samples_ns=timings.samples_ns,
        peak_memory_bytes=timings.peak_memory_bytes,
        before=before,
        after=after,
        usage=usage,
        energy=energy,
        operators=operators_of(sandbox, feeds) if request.operators else None,
    )


def operators_of(sandbox: Sandbox, feeds: Mapping[str, NDArray[np.generic]]) -> OperatorTimes:
    """A profiler that dies or hangs costs the measurement nothing."""
    try:
        return sandbox.operators(feeds, runs=_PROFILED_RUNS)
    except ModelError as error:
        return OperatorTimes(operators=None, why=error.message)


def time_amount(
    time_some: Callable[[int, int, int], Any], amount: Amount, *, clock: Callable[[], int] = time.monotonic_ns
) -> _Timings:
    """Time until both leasts are reached, or the most is.

    Args:
        time_some: Takes runs, nanoseconds and which share of samples to keep, and gives a ``Timed``.
        amount: How much.
        clock: Gives nanoseconds that never go back.
    """
    began = clock()
    scouts = _SCOUTS if amount.least_s else min(_SCOUTS, amount.runs)
    first = time_some(scouts, _SCOUTING_NS, 1)
    every = _every(amount, min(first.samples_ns))
    samples, runs, peak_bytes = list(first.samples_ns), first.runs, first.peak_memory_bytes
    while (budget_ns := _left_ns(amount, runs, clock() - began)) > 0:
        least_open = clock() - began < amount.least_s * 1e9
        timed = time_some(1 << 40 if least_open else amount.runs - runs, budget_ns, every)
        samples += timed.samples_ns
        runs, peak_bytes = runs + timed.runs, timed.peak_memory_bytes
    return _Timings(
        samples_ns=tuple(samples), runs=runs, query_ns=clock() - began, kept_every=every, peak_memory_bytes=peak_bytes
    )


def _left_ns(amount: Amount, runs: int, spent_ns: int) -> int:
    """For how long to go on at once; 0 when it is enough."""
    most_ns, least_ns = round(amount.most_s * 1e9), round(amount.least_s * 1e9)
    if spent_ns < least_ns:
        return min(least_ns, most_ns) - spent_ns
    return most_ns - spent_ns if runs < amount.runs else 0


def _every(amount: Amount, run_ns: int) -> int:
    """Keep the first of so many samples, so that no more are kept than were asked for."""
    coming = max(amount.runs, min(amount.least_s, amount.most_s) * 1e9 / max(1, run_ns))
    return max(1, -(-int(coming) // amount.kept))
