"""Watches what a served model is asked and answers, against its bundle's reference."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinsmith.runtime.monitor.drift import FALSE_ALARM, WINDOW, compare_windows
from tinsmith.runtime.monitor.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.monitor.drift import DriftReport
    from tinsmith.runtime.monitor.reference import Reference, Statistic

    Feeds = Mapping[str, NDArray[np.generic]]

__all__ = ["DriftWatch"]

logger = logging.getLogger(__name__)

_BLOCKS = 8


@dataclass(slots=True, kw_only=True)
class _Block:
    """What some samples in a row counted."""

    began_s: float
    samples: int = 0
    counts: dict[Statistic, list[int]] = field(default_factory=dict)


class DriftWatch:
    """Counts the statistics of served samples in the bins of a reference; a ``serving.Watcher``.

    The window slides in steps of an eighth: it holds the last ``window`` samples, and up to an eighth more.

    Args:
        reference: What is normal.
        window: Samples to judge by. More find a smaller drift, and later.
        every: Looks at every so manieth request alone, where requests resemble their neighbours or time is short.
        false_alarm: The share of windows without drift that may be called drifted.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        window: int = WINDOW,
        every: int = 1,
        false_alarm: float = FALSE_ALARM,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.window = window
        self.every = every
        self._reference = reference
        self._false_alarm = false_alarm
        self._clock = clock
        self._edges = {statistic: histogram.edges for statistic, histogram in reference.histograms()}
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._blocks: deque[_Block] = deque()
        self._current = _Block(began_s=clock())

    def saw(self, feeds: Feeds, outputs: Feeds) -> None:
        """One request; see ``serving.Watcher``."""
        if next(self._turn) % self.every:
            return
        try:
            found = self._measured(feeds, outputs)
        except Exception:  # a request that was answered must not fail for being watched
            logger.exception("a request could not be measured for drift")
            return
        with self._lock:
            self._count(found)

    def _measured(self, feeds: Feeds, outputs: Feeds) -> list[tuple[Statistic, list[int]]]:
        """The bin of each sample, statistic by statistic."""
        return [
            (statistic, [bisect_right(self._edges[statistic], value) for value in values.tolist()])
            for statistic, values in summarise(feeds, outputs)
            if statistic in self._edges
        ]

    def _count(self, found: list[tuple[Statistic, list[int]]]) -> None:
        block = self._current
        for statistic, bins in found:
            counts = block.counts.get(statistic)
            if counts is None:
                counts = block.counts[statistic] = [0] * (len(self._edges[statistic]) + 1)
            for place in bins:
                counts[place] += 1
        block.samples += max((len(bins) for _, bins in found), default=0)
        if block.samples * _BLOCKS >= self.window:
            self._slide()

    def _slide(self) -> None:
        self._blocks.append(self._current)
        self._current = _Block(began_s=self._clock())
        while sum(block.samples for block in self._blocks) - self._blocks[0].samples >= self.window:
            self._blocks.popleft()

    def report(self) -> DriftReport:
        """What the window says now."""
        with self._lock:
            blocks = [*self._blocks, self._current]
            window = {
                statistic: [sum(bins) for bins in zip(*held, strict=True)]
                for statistic in self._edges
                if (held := [block.counts[statistic] for block in blocks if statistic in block.counts])
            }
            samples = sum(block.samples for block in blocks)
        return compare_windows(self._reference, window, samples=samples, false_alarm=self._false_alarm)

    @property
    def began_s(self) -> float:
        """When the window begins, in seconds since 1970."""
        with self._lock:
            return (self._blocks[0] if self._blocks else self._current).began_s
