"""What every preprocessing operation is: one thing done to one sample."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tinsmith.runtime.box import Box
from tinsmith.runtime.operation import OperationAsData

Array = NDArray[np.generic]
Raw = Path | bytes | str | Array
Size = tuple[int, int]
Shape = tuple[int | None, ...]
Content = Literal["file", "text", "numbers"]

__all__ = ["Array", "Content", "Operation", "Raw", "Shape", "Size", "as_array"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(OperationAsData, abc.ABC):
    """One operation on one sample, without a batch axis.

    Attributes:
        takes: What a sample must be when this operation is the first: an image file, text, or numbers.
    """

    takes: ClassVar[Content] = "numbers"

    @abc.abstractmethod
    def apply(self, sample: Raw) -> Array:
        """Do it to one sample.

        Raises:
            DataError: It is not made for such a sample.
        """

    def framing(self, size: Size) -> tuple[Box, Size]:
        """Which part of a picture of a height and a width it keeps, and the height and width that come out."""
        return Box(), size

    def shape_before(self, shape: Shape) -> Shape | None:
        """The one shape of a sample that ``shape`` comes out of, free axes as None; None where there are several."""
        del shape
        return None


def as_array(operation: Operation, sample: Raw) -> Array:
    """The sample, if it is an array by now.

    Raises:
        DataError: It is still a file or text.
    """
    if isinstance(sample, np.ndarray):
        return sample
    if isinstance(sample, str):
        raise operation.refuse("the sample is still text", "put a tokenise operation before it")
    raise operation.refuse("the sample is still a file", "put a decode operation before it")
