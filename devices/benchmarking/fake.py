"""A measurer without a device, for tests: says run times that it was given, and fails when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.errors import VerificationError
from tinsmith.runtime.measurement import ProcessRun
from tinsmith.runtime.measuring.conditions import Conditions, Machine
from tinsmith.runtime.measuring.energy import Energy
from tinsmith.runtime.measuring.measure import Measured
from tinsmith.runtime.measuring.usage import Usage
from tinsmith.runtime.operator_times import OperatorTimes
from tinsmith.runtime.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.runtime.errors import TinsmithError
    from tinsmith.runtime.measuring.requests import Measure

__all__ = ["FakeMeasurer"]

_MACHINE = Machine(system="Linux 6.1", machine="aarch64", cpu="Cortex-A72", cores=4, python="3.11.2")
_QUIET = Usage(wall_s=1.0, own_cores=1.0, others_cores=0.02, steal_cores=0.0, waited_share=0.0, involuntary_switches=0)

_UNCOUNTED = Energy(why="a fake counts no energy")


class FakeMeasurer:
    """Measures what it was told; passes the contract of the real one.

    Args:
        run_ns: How long each run of a process takes, by the process's number; the last counts for all that follow.
        conditions: Before and after each process, in the same way.
        usage: In between.
        energy: Of the timed runs of each process.
        steady: Whether the warm-up ended in a steady speed.
        failures: What is raised instead, by the number of the call.

    Attributes:
        asked: All requests so far.
        held: The artifacts that were brought, by path.
        closed: Whether it was let go of.
    """

    def __init__(
        self,
        run_ns: Sequence[int] = (1_000_000,),
        *,
        conditions: Sequence[Conditions] = (Conditions(),),
        usage: Usage = _QUIET,
        energy: Energy = _UNCOUNTED,
        steady: bool = True,
        failures: Mapping[int, TinsmithError] | None = None,
    ) -> None:
        self.asked: list[Measure] = []
        self.held: dict[str, Subject] = {}
        self.closed = False
        self._run_ns, self._conditions, self._usage, self._steady = run_ns, conditions, usage, steady
        self._energy = energy
        self._failures = dict(failures or {})

    def prepare(self, subject: Subject, sent: Callable[[int, int], None]) -> str:
        """See ``Measurer``."""
        path = f"bench/{subject.sha256}.{subject.format}"
        if path not in self.held:
            sent(subject.size_bytes, subject.size_bytes)
            self.held[path] = subject
        return path

    def measure(self, request: Measure) -> Measured:
        """See ``Measurer``."""
        number = len(self.asked)
        self.asked.append(request)
        if number in self._failures:
            raise self._failures[number]
        if self.held[request.path].sha256 != request.sha256:
            raise VerificationError("fake: checking: it is another file than was meant")
        return Measured(
            engine=request.engine or "litert",
            engine_version="2.3.0",
            accelerator=request.accelerator,
            placement=Placement(units={"cpu": {"CONV_2D": 2}}),
            machine=_MACHINE,
            process=self._process(number, request),
        )

    def close(self) -> None:
        """See ``Measurer``."""
        self.closed = True

    def _process(self, number: int, request: Measure) -> ProcessRun:
        run_ns = self._run_ns[min(number, len(self._run_ns) - 1)]
        runs = request.amount.runs
        no_times = OperatorTimes(operators=None, why="a fake has no operators")
        return ProcessRun(
            load_ms=3.0,
            first_ms=2 * run_ns / 1e6,
            warmup_runs=24,
            steady=self._steady,
            runs=runs,
            query_ns=runs * run_ns,
            kept_every=1,
            samples_ns=(run_ns,) * runs,
            peak_memory_bytes=40 << 20,
            before=self._conditions[min(number, len(self._conditions) - 1)],
            after=self._conditions[min(number + 1, len(self._conditions) - 1)],
            usage=self._usage,
            energy=self._energy,
            operators=no_times if request.operators else None,
        )
