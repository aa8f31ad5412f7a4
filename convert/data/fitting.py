"""From a raw sample to what one input of a model is fed with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.data import checks
from tinsmith.runtime.errors import DataError, UnreadableSampleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.convert.data.source import Array, Positions
    from tinsmith.runtime.preprocessing import Preprocessing, Raw
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Preprocesses samples, and holds what comes out to the input that takes it.

    Attributes:
        where: The source, for messages.
        spec: The input; None where there is no model.
        preprocessing: What is done to each sample.
    """

    where: str
    spec: TensorSpec | None
    preprocessing: Preprocessing

    def one(self, raw: Raw, position: int) -> Array:
        """Preprocess and check one sample, without a batch axis.

        Raises:
            UnreadableSampleError: It is an image file that can't be read.
            NotFiniteError: It holds NaN or infinity.
            DataError: It does not fit the model.
        """
        array = self._applied(raw, position)
        at = np.asarray([position])
        if self.spec is None:
            checks.check_finite(self.where, array[None], at)
            return array
        where = f"{self.where}, sample {position}"
        checks.check_dtype(where, array.dtype, self.spec)
        checks.check_shape(where, (1, *array.shape), self.spec)
        return np.asarray(checks.as_fed(self.where, array[None], self.spec, at)[0])

    def batch(self, raws: Sequence[Raw], positions: Positions) -> Array:
        """Preprocess and check samples; those come out on axis 0. Raises as ``one``."""
        fed = [self.one(raw, int(position)) for raw, position in zip(raws, positions, strict=True)]
        if len({array.shape for array in fed}) > 1:
            raise DataError(
                f"{self.where} holds samples of different shapes: {fed[0].shape}, but also "
                f"{next(a.shape for a in fed if a.shape != fed[0].shape)}",
                hint="name a resize or a pad operation under `preprocess:` in a data.yaml",
            )
        return np.stack(fed)

    def _applied(self, raw: Raw, position: int) -> Array:
        if self.spec is None and not self.preprocessing.operations and isinstance(raw, str):
            return np.asarray(raw)  # nothing is to be done to the text, and nobody takes it
        try:
            return self.preprocessing.apply(raw)
        except DataError as error:
            if isinstance(raw, Path) and isinstance(error, UnreadableSampleError):
                raise
            name = f"{self.where}, sample {position} (counted from 0)"
            raise type(error)(f"{name}: {error.message}", hint=error.hint) from error
