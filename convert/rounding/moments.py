"""Mean and covariance of a layer's inputs, streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.runtime.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Moments"]


class Moments:
    """Sums over rows, group by group."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: Floats = np.zeros(1)
        self._products: Floats = np.zeros(1)

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take rows, [groups, rows, inputs]."""
        self._count += rows.shape[1]
        self._sums = self._sums + rows.sum(axis=1, dtype=np.float64)
        self._products = self._products + rows.transpose(0, 2, 1) @ rows

    def mean(self) -> Floats:
        """[groups, inputs]; raises as ``covariance``."""
        if not self._count or not np.isfinite(self._products).all():
            raise ModelError("a layer was not reached on the samples, or becomes NaN or infinite on them")
        return np.asarray(self._sums / self._count)

    def covariance(self) -> Floats:
        """Of the inputs, [groups, inputs, inputs].

        Shrunk towards inputs that do not go together, as far as there are too few rows to tell: of no more rows than
        inputs any rounding looks free of errors. Ledoit and Wolf 2004, "A well-conditioned estimator for
        large-dimensional covariance matrices".

        Raises:
            ModelError: Nothing was seen, or something that is no number.
        """
        mean = self.mean()
        found = self._products / self._count - mean[:, :, None] * mean[:, None, :]
        inputs = found.shape[-1]
        told = self._count / (self._count + inputs)
        own = np.einsum("gii->gi", found)[:, :, None] * np.eye(inputs)
        return np.asarray(told * found + (1 - told) * own)
