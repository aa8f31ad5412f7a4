"""A row of operations on the outputs of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.operation import operation_of_kind
from tinsmith.runtime.postprocessing.answers import Numbers
from tinsmith.runtime.postprocessing.boxes import Boxes, Detected
from tinsmith.runtime.postprocessing.classes import Argmax, Labels, Threshold, TopK
from tinsmith.runtime.postprocessing.scores import Binary, Output, Sigmoid, Softmax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.errors import DataError
    from tinsmith.runtime.postprocessing.answers import Answer
    from tinsmith.runtime.postprocessing.operation import Operation

__all__ = ["Postprocessing"]

_KINDS: dict[str, type[Operation]] = {
    operation.kind: operation
    for operation in (Output, Softmax, Sigmoid, Binary, Argmax, TopK, Threshold, Labels, Boxes, Detected)
}
_ORDER = "the order is: output, softmax or sigmoid, top-k or threshold, labels; or boxes, threshold, labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postprocessing:
    """What turns the outputs for one sample into an answer.

    Attributes:
        operations: In the order they are done; without any, the answer is the outputs themselves.

    Raises:
        DataError: An operation can't take what the one before it gives, or stands twice.
    """

    operations: tuple[Operation, ...] = ()

    def __post_init__(self) -> None:
        given: type[Answer] = Numbers
        before: Operation | None = None
        for operation in self.operations:
            if given not in operation.moves:
                raise _misplaced(operation, before, given)
            if [other.kind for other in self.operations].count(operation.kind) > 1:
                raise operation.refuse("it stands twice", _ORDER)
            given, before = operation.moves[given], operation

    def apply(self, outputs: Mapping[str, NDArray[np.generic]]) -> Answer:
        """Make an answer of the outputs for one sample.

        Args:
            outputs: One array an output name, without the batch axis; real numbers where the model stores quantized
                ones.

        Raises:
            DataError: The outputs have a shape or a range that an operation is not made for.
            ModelError: They hold NaN or infinity.
        """
        answer: Answer = Numbers(outputs=outputs)
        for operation in self.operations:
            answer = operation.apply(answer)
        return answer

    def to_json(self) -> list[dict[str, Any]]:
        """The form that stands in a bundle."""
        return [operation.to_json() for operation in self.operations]

    @classmethod
    def from_json(cls, data: Sequence[Mapping[str, Any]]) -> Postprocessing:
        """Read back what ``to_json`` wrote.

        Raises:
            DataError: An operation or a setting is unknown, or the order can't be.
        """
        return cls(operations=tuple(operation_of_kind(item, _KINDS) for item in data))


def _misplaced(operation: Operation, before: Operation | None, given: type[Answer]) -> DataError:
    takes = " or ".join(kind.noun for kind in operation.moves)
    said = f"stands first, where there are {given.noun}" if before is None else f"{before.kind} gives {given.noun}"
    return operation.refuse(f"it takes {takes}, but {'it ' if before is None else ''}{said}", _ORDER)
