"""Samples in the portions, names and dtypes that a model takes while it is calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.calibration.ranges import no_samples
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = ["Portion", "Portions", "feeds_for_one_run"]

# What the tensors of one run may take, all together; more than a cache holds would only make it slower.
_MOST_BYTES = 64 << 20
_MOST_SAMPLES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Samples that go through the model in one run.

    Attributes:
        feeds: One array an input name, samples on axis 0.
        samples: How many real ones there are; they come first.
        length: Of axis 0.
        odd: Whether these are samples 1, 3, 5 and so on of all, or 0, 2, 4 and so on.
    """

    feeds: dict[str, Array]
    samples: int
    length: int
    odd: bool


class Portions:
    """Batches of samples, cut into portions that a model can be run on.

    No portion holds even and odd samples at once, because tensors inside a model need not keep its samples apart. The
    first portions hold one sample; more come in one when ``fit`` has said what a sample takes.

    Args:
        samples: Batches, one array an input name, all with their samples on axis 0; read once.
        inputs: What the model takes. Names that it does not know are matched by their order. Where its batch axis is
            fixed, the last portions are filled up with their own first sample.

    Attributes:
        samples: How many were given out so far.

    Raises:
        DataError: While it is iterated: the number of inputs differs, or there were no samples.
    """

    def __init__(self, samples: Iterable[Mapping[str, Array]], inputs: Sequence[TensorSpec]) -> None:
        self.samples = 0
        self._batches, self._inputs = samples, inputs
        self._fixed = next((spec.batch for spec in inputs if spec.batch is not None), None)
        self._size = self._fixed or 1

    def fit(self, portion: Portion, tensor_bytes: int) -> None:
        """Say what the tensors took in a run; later portions hold as many samples as memory is for."""
        if self._fixed is None:
            self._size = max(1, min(_MOST_SAMPLES, _MOST_BYTES * portion.length // max(1, tensor_bytes)))

    def __iter__(self) -> Iterator[Portion]:
        for feeds in self._batches:
            named = _renamed(feeds, self._inputs)
            length = len(next(iter(named.values())))
            first_is_odd = bool(self.samples % 2)
            for odd in (False, True):
                start = int(odd != first_is_odd)
                yield from self._cut({name: array[start::2] for name, array in named.items()}, odd=odd)
            self.samples += length
        if not self.samples:
            raise no_samples()

    def _cut(self, named: dict[str, Array], *, odd: bool) -> Iterator[Portion]:
        at, end = 0, len(next(iter(named.values())))
        while at < end:
            size = self._size
            part = {name: np.ascontiguousarray(array[at : at + size]) for name, array in named.items()}
            length = min(size, end - at)
            filled = part if self._fixed is None else {name: _filled(array, size) for name, array in part.items()}
            yield Portion(feeds=filled, samples=length, length=self._fixed or length, odd=odd)
            at += size


def feeds_for_one_run(feeds: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Samples as a model takes them: by its names, in its dtypes, filled up where its batch axis is fixed.

    Args:
        feeds: One array an input name, samples on axis 0; no more than a fixed batch holds.
        inputs: What the model takes.

    Raises:
        DataError: The number of inputs differs.
    """
    fixed = next((spec.batch for spec in inputs if spec.batch is not None), None)
    named = _renamed(feeds, inputs)
    return named if fixed is None else {name: _filled(array, fixed) for name, array in named.items()}


def _renamed(feeds: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    names = [spec.name for spec in inputs]
    if len(names) != len(feeds):
        raise DataError(f"the model has {len(names)} inputs ({', '.join(names)}), but samples have {len(feeds)}")
    by_name = feeds if set(names) == feeds.keys() else dict(zip(names, feeds.values(), strict=True))
    return {spec.name: np.asarray(by_name[spec.name], dtype=spec.dtype) for spec in inputs}


def _filled(array: Array, length: int) -> Array:
    missing = length - len(array)
    return np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) if missing else array
