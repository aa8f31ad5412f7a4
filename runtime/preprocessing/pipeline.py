"""A row of operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.runtime.box import Box
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.operation import operation_of_kind
from tinsmith.runtime.preprocessing.numbers import Normalize, Scale
from tinsmith.runtime.preprocessing.pictures import CenterCrop, ChannelsFirst, Decode, Resize
from tinsmith.runtime.preprocessing.text import Pad, Tokenise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinsmith.runtime.preprocessing.operation import Array, Content, Operation, Raw, Shape

__all__ = ["Preprocessing", "operation_from_json"]

_KINDS: dict[str, type[Operation]] = {
    operation.kind: operation
    for operation in (Decode, Resize, CenterCrop, ChannelsFirst, Scale, Normalize, Tokenise, Pad)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What turns a raw sample (a path, the bytes of a file, an array, text) into what a model is fed.

    Attributes:
        operations: In the order they are done; without any, the sample must be an array already.
    """

    operations: tuple[Operation, ...] = ()

    @property
    def takes(self) -> Content:
        """What a raw sample is: the bytes or the path of an image ``file``, ``text``, or an array of ``numbers``."""
        return self.operations[0].takes if self.operations else "numbers"

    def apply(self, sample: Raw) -> Array:
        """Do all of it to one sample, without a batch axis.

        Returns:
            float32 for real numbers, else the dtype that the last operation gives (int32 of tokens, uint8 of pixels).

        Raises:
            UnreadableSampleError: It can't be read as an image.
            DataError: An operation is not made for it, or it is still a file or text at the end.
            MissingDependencyError: Pillow is needed and not installed.
        """
        for operation in self.operations:
            sample = operation.apply(sample)
        if not isinstance(sample, np.ndarray):
            what, kind = ("text", "tokenise") if isinstance(sample, str) else ("a file", "decode")
            raise DataError(
                f"the sample is {what}, and no operation turns it into numbers",
                hint=f"name a {kind} operation under `preprocess:` in a data.yaml",
            )
        with np.errstate(over="ignore"):
            return sample.astype(np.float32) if sample.dtype == np.float64 else sample

    def framing(self, height: int, width: int) -> Box:
        """The part of a picture of that size that the model is fed; beyond its edges where it is filled up."""
        part, size = Box(), (height, width)
        for operation in self.operations:
            kept, size = operation.framing(size)
            part = kept.inside(part)
        return part

    def shape_before(self, shape: Shape) -> Shape | None:
        """The one shape of a sample that ``shape`` comes out of, free axes as None; None where there are several."""
        before: Shape | None = shape
        for operation in reversed(self.operations):
            before = None if before is None else operation.shape_before(before)
        return before

    def to_json(self) -> list[dict[str, Any]]:
        """The form that stands in a bundle."""
        return [operation.to_json() for operation in self.operations]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> Preprocessing:
        """Read back what ``to_json`` wrote.

        Raises:
            DataError: An operation is unknown, or a setting of it is.
        """
        return cls(operations=tuple(operation_from_json(item) for item in data))


def operation_from_json(data: Mapping[str, Any]) -> Operation:
    """Read one operation.

    Raises:
        DataError: Its kind or a setting is unknown, missing, or has a value that can't be.
    """
    return operation_of_kind(data, _KINDS)
