"""Operations on numbers: a new scale, and mean and standard deviation a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinsmith.runtime.operation import check_numbers
from tinsmith.runtime.preprocessing.operation import Operation, as_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.runtime.preprocessing.operation import Array, Raw, Shape

__all__ = ["Normalize", "Scale"]

_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Operation):
    """``x * multiply + offset``, in float32.

    Attributes:
        multiply: Such as 0.00392156862745098 (1/255) for 0..255 to 0..1.
        offset: Added afterwards, such as -1.
    """

    kind: ClassVar[str] = "scale"

    multiply: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self, multiply=self.multiply, offset=self.offset)

    def apply(self, sample: Raw) -> Array:
        """Scale numbers of any shape; gives float32."""
        numbers = _as_numbers(self, sample)
        with np.errstate(over="ignore"):
            return np.asarray(numbers * np.float32(self.multiply) + np.float32(self.offset))

    def shape_before(self, shape: Shape) -> Shape:
        """The same."""
        return shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalize(Operation):
    """``(x - mean) / std``, in float32, one mean and one std a channel of the last axis.

    Attributes:
        mean: One number a channel, or a single one for all; in the units of the sample.
        std: As many, none of them zero.
    """

    kind: ClassVar[str] = "normalize"

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if isinstance(value, tuple) else (value,))
        for mean in self.mean:
            check_numbers(self, mean=mean)
        for std in self.std:
            check_numbers(self, std=std)
        if len(self.mean) != len(self.std) or not self.mean:
            raise self.refuse(f"mean has {len(self.mean)} numbers, and std has {len(self.std)}")
        if any(std < _SMALLEST for std in self.std):
            raise self.refuse(f"std must be above zero, not {min(self.std)}")

    def apply(self, sample: Raw) -> Array:
        """Normalize numbers with the channels on the last axis; gives float32.

        Raises:
            DataError: The last axis has another length.
        """
        numbers = _as_numbers(self, sample)
        if len(self.mean) > 1 and numbers.shape[-1:] != (len(self.mean),):
            raise self.refuse(
                f"mean has {len(self.mean)} numbers, but the sample's shape is {list(numbers.shape)}",
                "give one mean a channel of the last axis, and put channels-first behind",
            )
        mean, std = (np.asarray(value, dtype=np.float32) for value in (self.mean, self.std))
        with np.errstate(over="ignore"):
            return np.asarray((numbers - mean) / std)

    def shape_before(self, shape: Shape) -> Shape:
        """The same."""
        return shape


def _as_numbers(operation: Operation, sample: Raw) -> NDArray[np.float32]:
    array = as_array(operation, sample)
    if array.dtype.kind not in "fiub":
        raise operation.refuse(f"the sample holds {array.dtype}, not numbers")
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite; whoever checks samples names it
        return array.astype(np.float32)
