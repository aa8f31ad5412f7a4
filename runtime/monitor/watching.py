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
    from tinsmith.runtime.monitor.reference import Reference

    Feeds = Mapping[str, NDArray[np.generic]]

__all__ = ["DriftWatch"]

logger = logging.getLogger(__name__)

_BLOCKS = 8


@dataclass(slots=True, kw_only=True)
class _Block:
    """What some samples in a row counted."""

    began_s: float
    samples: int = 0
    counts: list[list[int]] = field(default_factory=list)


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
        self._edges = [histogram.edges for _, histogram in reference.histograms()]
        self._places = {statistic: place for place, (statistic, _) in enumerate(reference.histograms())}
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._blocks: deque[_Block] = deque()
        self._current = self._empty()

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

    def _empty(self) -> _Block:
        return _Block(began_s=self._clock(), counts=[[0] * (len(edges) + 1) for edges in self._edges])

    def _measured(self, feeds: Feeds, outputs: Feeds) -> list[tuple[int, list[int]]]:
        """The bin of each sample, by the place of the statistic."""
        found = []
        for statistic, values in summarise(feeds, outputs):
            place = self._places.get(statistic)
            if place is not None:
                edges = self._edges[place]
                found.append((place, [bisect_right(edges, value) for value in values.tolist()]))
        return found

    def _count(self, found: list[tuple[int, list[int]]]) -> None:
        block = self._current
        if not block.samples:
            block.began_s = self._clock()
        for place, bins in found:
            counts = block.counts[place]
            for number in bins:
                counts[number] += 1
        block.samples += max((len(bins) for _, bins in found), default=0)
        if block.samples * _BLOCKS >= self.window:
            self._slide()

    def _slide(self) -> None:
        self._blocks.append(self._current)
        self._current = self._empty()
        while sum(block.samples for block in self._blocks) - self._blocks[0].samples >= self.window:
            self._blocks.popleft()

    def report(self) -> DriftReport:
        """What the window says now."""
        with self._lock:
            blocks = [*self._blocks, self._current]
            window = {
                statistic: [sum(bins) for bins in zip(*(block.counts[place] for block in blocks), strict=True)]
                for statistic, place in self._places.items()
            }
            samples = sum(block.samples for block in blocks)
        return compare_windows(self._reference, window, samples=samples, false_alarm=self._false_alarm)

    @property
    def began_s(self) -> float:
        """When the window begins, in seconds since 1970."""
        with self._lock:
            return (self._blocks[0] if self._blocks else self._current).began_s
