"""Makes the drift reference of a bundle from the samples that it is made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.runtime.errors import DataError
from tinsmith.runtime.monitor.reference import Histogram, Reference, Statistic
from tinsmith.runtime.monitor.reservoir import Reservoir
from tinsmith.runtime.monitor.summary import samples_in, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[np.generic]]
    Values = NDArray[np.float64]

__all__ = ["BINS", "MOST_SAMPLES", "build_reference"]

BINS = 10
# One value a statistic and sample is kept until the edges are known: half a megabyte a statistic. A larger reference
# would narrow no threshold: a window of some thousand samples is what limits them.
MOST_SAMPLES = 65_536
_MOST_CLASSES = 50
_SAME = 1e-5


def build_reference(
    batches: Iterable[tuple[Feeds, Feeds]], *, most_samples: int = MOST_SAMPLES, seed: int = 0
) -> Reference:
    """Count what goes in and comes out, in memory that does not grow with the number of samples.

    The edges are deciles, so that each bin holds a tenth of the samples; a value that many samples share has a bin of
    its own, and so has each class, where there are few. ``summarise`` says what is measured. A grid of equal steps, as
    calibration has it, would put a narrow distribution far from 0 into one bin; so exact values are kept, of an even
    draw where there are very many samples.

    Args:
        batches: Feeds and the outputs for them: one array a name, in the stored dtypes, samples on axis 0.
        most_samples: How many are counted; of more, an even draw.
        seed: Of the draw.

    Raises:
        DataError: There is no sample.
    """
    kept = _Kept(most_samples, seed=seed)
    for feeds, outputs in batches:
        kept.add(feeds, outputs)
    if not kept.samples:
        raise DataError("a drift reference needs samples, and there are none", hint="give some with --data")
    sides: dict[str, dict[str, dict[str, Histogram]]] = {"inputs": {}, "outputs": {}}
    for statistic, values in kept.columns():
        sides[statistic.side].setdefault(statistic.tensor, {})[statistic.name] = _histogram(statistic, values)
    return Reference(samples=kept.samples, inputs=sides["inputs"], outputs=sides["outputs"])


class _Kept:
    """The values of an even draw of samples, a column a statistic."""

    def __init__(self, most_samples: int, *, seed: int) -> None:
        self._most = most_samples
        self._reservoir = Reservoir(most_samples, seed=seed)
        self._columns: dict[Statistic, Values] = {}
        self._measured: dict[Statistic, int] = {}

    @property
    def samples(self) -> int:
        return min(self._reservoir.seen, self._most)

    def add(self, feeds: Feeds, outputs: Feeds) -> None:
        offered = [self._reservoir.offer() for _ in range(samples_in(feeds, outputs))]
        chosen = [number for number, place in enumerate(offered) if place is not None]
        places = [place for place in offered if place is not None]
        for statistic, values in summarise(feeds, outputs):
            if statistic not in self._columns:
                # pages that nothing is written to take no memory
                self._columns[statistic] = np.empty(self._most)
            # one by one where a place was given twice: the later sample stays
            self._columns[statistic][places] = values[chosen]
            self._measured[statistic] = self._measured.get(statistic, 0) + len(values)

    def columns(self) -> Iterable[tuple[Statistic, Values]]:
        """Statistics that every sample has: where shapes are free, some samples may lack one."""
        for statistic, column in self._columns.items():
            if self._measured[statistic] == self._reservoir.seen:
                yield statistic, column[: self.samples]


def _histogram(statistic: Statistic, values: Values) -> Histogram:
    finite = np.sort(values[np.isfinite(values)])
    edges = _class_edges(finite) if statistic.nominal else _edges(finite)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _edges(ordered: Values) -> Values:
    """At the deciles; on both sides of a value that half a bin or more of the samples share."""
    if not ordered.size:
        return np.zeros(0)
    shared = max(2, len(ordered) / (2 * BINS))
    deciles = ordered[np.arange(1, BINS) * len(ordered) // BINS]
    edges: list[float] = []
    for decile in deciles:
        # as far as engines differ in the last digits of the same number
        around = _SAME * max(abs(decile), deciles[-1] - deciles[0]) or _SAME
        low, high = np.searchsorted(ordered, (decile - around, decile + around))
        edges += [decile - around, decile + around] if high - low >= shared else [decile]
    return np.unique(edges)


def _class_edges(ordered: Values) -> Values:
    """Between neighbouring classes, and beyond the last one seen; between deciles where there are many."""
    if not ordered.size:
        return np.zeros(0)
    last = int(ordered[-1])
    if last < _MOST_CLASSES:
        return np.arange(last + 1, dtype=np.float64) + 0.5
    return np.unique(ordered[np.arange(1, BINS) * len(ordered) // BINS]) + 0.5
