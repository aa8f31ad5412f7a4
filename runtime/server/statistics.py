"""Counts and times of one served model, as the statistics call and the metrics page read them."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field, replace

__all__ = ["BUCKETS_S", "RECENT", "BatchTimes", "Durations", "Snapshot", "Statistics"]

# upper ends, in seconds, from below a tiny model's run to beyond any deadline worth waiting for
BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# requests whose own times are kept: enough for a p99, and some tens of kilobytes
RECENT = 1024
_BUCKETS_NS = tuple(round(end * 1e9) for end in BUCKETS_S)


@dataclass(slots=True, kw_only=True)
class Durations:
    """How long something took, over all requests.

    Attributes:
        count: How many.
        total_ns: Together.
        buckets: How many ended within each of ``BUCKETS_S`` and not within the one before; the last counts the rest.
    """

    count: int = 0
    total_ns: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.total_ns += ns
        self.buckets[bisect_left(_BUCKETS_NS, ns)] += 1

    def copy(self) -> Durations:
        """As it is now."""
        return Durations(count=self.count, total_ns=self.total_ns, buckets=list(self.buckets))


@dataclass(slots=True, kw_only=True)
class BatchTimes:
    """What the requests that ran in batches of one size took together.

    Attributes:
        input_ns: Making their arrays.
        infer_ns: Their runs; each batch counts once for each request in it.
        output_ns: Making their answers.
    """

    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Statistics at one moment.

    Attributes:
        success: Whole requests that were answered, from the body's last byte to the answer's first.
        failure: Requests that were not.
        queue: Waiting for an interpreter.
        compute_input: Making arrays of what the client sent.
        compute_infer: Running; the whole batch counts for each request in it.
        compute_output: Making an answer of what came out.
        failures: Counts by reason.
        batches: How often a run held this many requests.
        last_ms: When the last request ended, in milliseconds since 1970; 0 for never.
        inferences: Samples in the requests that were answered; a client may send a whole batch as one request.
        batch_times: By the number of requests that a run held.
        recent: The last ``RECENT`` requests in order: nanoseconds of the run, or the reason of the failure.
    """

    success: Durations
    failure: Durations
    queue: Durations
    compute_input: Durations
    compute_infer: Durations
    compute_output: Durations
    failures: dict[str, int]
    batches: dict[int, int]
    last_ms: int
    inferences: int = 0
    batch_times: dict[int, BatchTimes] = field(default_factory=dict)
    recent: tuple[int | str, ...] = ()

    @property
    def executions(self) -> int:
        """Runs of the engine; the average batch is ``success.count`` over this."""
        return sum(self.batches.values())


class Statistics:
    """Counts; safe to call from many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._success, self._failure, self._queue = Durations(), Durations(), Durations()
        self._input, self._infer, self._output = Durations(), Durations(), Durations()
        self._failures: dict[str, int] = {}
        self._batches: dict[int, int] = {}
        self._batch_times: dict[int, BatchTimes] = {}
        self._inferences = 0
        self._last_ms = 0
        self._recent: deque[int | str] = deque(maxlen=RECENT)

    def executed(self, requests: int) -> None:
        """The engine ran once, for so many requests."""
        with self._lock:
            self._batches[requests] = self._batches.get(requests, 0) + 1

    def succeeded(  # noqa: PLR0913 - a number for each part of a request
        self,
        *,
        total_ns: int,
        input_ns: int,
        queue_ns: int,
        infer_ns: int,
        output_ns: int,
        now_ms: int,
        samples: int = 1,
        batch: int = 1,
    ) -> None:
        """A request of so many samples was answered; ``batch`` requests shared its run."""
        with self._lock:
            self._success.add(total_ns)
            self._input.add(input_ns)
            self._queue.add(queue_ns)
            self._infer.add(infer_ns)
            self._output.add(output_ns)
            self._recent.append(infer_ns)
            self._inferences += samples
            times = self._batch_times.setdefault(batch, BatchTimes())
            times.input_ns += input_ns
            times.infer_ns += infer_ns
            times.output_ns += output_ns
            self._last_ms = now_ms

    def failed(self, reason: str, *, total_ns: int, now_ms: int) -> None:
        """A request was refused, or the engine failed on it; ``reason`` as ``Refusal.reason``."""
        with self._lock:
            self._failure.add(total_ns)
            self._failures[reason] = self._failures.get(reason, 0) + 1
            self._recent.append(reason)
            self._last_ms = now_ms

    def snapshot(self) -> Snapshot:
        """All of it at one moment."""
        with self._lock:
            return Snapshot(
                success=self._success.copy(),
                failure=self._failure.copy(),
                queue=self._queue.copy(),
                compute_input=self._input.copy(),
                compute_infer=self._infer.copy(),
                compute_output=self._output.copy(),
                failures=dict(self._failures),
                batches=dict(self._batches),
                last_ms=self._last_ms,
                inferences=self._inferences,
                batch_times={size: replace(times) for size, times in self._batch_times.items()},
                recent=tuple(self._recent),
            )
