"""Samples in the portions, names and dtypes that a model takes while it is calibrated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = ["portions"]


def portions(
    samples: Iterable[Mapping[str, Array]], inputs: Sequence[TensorSpec], *, at_most: int
) -> Iterator[dict[str, Array]]:
    """Cut batches of samples into portions that a model can be run on.

    Args:
        samples: Batches, one array an input name, all with their samples on axis 0; read once.
        inputs: What the model takes. Names that it does not know are matched by their order.
        at_most: Samples a portion, where the model's batch axis is free. Where it is fixed, the last portion of a batch
            is filled up with its own first sample, which changes no range.

    Raises:
        DataError: The number of inputs differs.
    """
    fixed = next((spec.batch for spec in inputs if spec.batch is not None), None)
    size = fixed or at_most
    for feeds in samples:
        named = _renamed(feeds, inputs)
        for start in range(0, len(next(iter(named.values()))), size):
            portion = {name: array[start : start + size] for name, array in named.items()}
            yield portion if fixed is None else {name: _filled(array, fixed) for name, array in portion.items()}


def _renamed(feeds: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    names = [spec.name for spec in inputs]
    if len(names) != len(feeds):
        raise DataError(f"the model has {len(names)} inputs ({', '.join(names)}), but samples have {len(feeds)}")
    by_name = feeds if set(names) == feeds.keys() else dict(zip(names, feeds.values(), strict=True))
    return {spec.name: np.asarray(by_name[spec.name], dtype=spec.dtype) for spec in inputs}


def _filled(array: Array, length: int) -> Array:
    missing = length - len(array)
    return np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) if missing else array
