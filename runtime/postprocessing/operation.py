"""What every postprocessing operation is: one kind of answer made of another."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinsmith.runtime.errors import ModelError
from tinsmith.runtime.operation import OperationAsData
from tinsmith.runtime.postprocessing.answers import Numbers, Scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tinsmith.runtime.postprocessing.answers import Answer

__all__ = ["Operation", "output_named", "scores_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(OperationAsData, abc.ABC):
    """One operation on what a model says about one sample.

    Attributes:
        moves: The kinds of answer that it takes, each with the kind that it makes of it.
    """

    moves: ClassVar[Mapping[type[Answer], type[Answer]]]

    @abc.abstractmethod
    def apply(self, answer: Answer) -> Answer:
        """Do it to an answer of a kind that ``moves`` names.

        Raises:
            DataError: The model's outputs have a shape or a range that it is not made for.
            ModelError: They hold NaN or infinity.
        """


def output_named(operation: Operation, answer: Answer, name: str | None) -> NDArray[np.float64]:
    """One output as real numbers; with no name the only one.

    Raises:
        DataError: There is none of that name, or several and no name, or it holds no real numbers.
    """
    outputs = answer.outputs if isinstance(answer, Numbers) else {}
    if name is None and len(outputs) != 1:
        raise operation.refuse(
            f"the model has {len(outputs)} outputs: {', '.join(outputs)}",
            "name one in an output operation before it",
        )
    if name is not None and name not in outputs:
        raise operation.refuse(f"the model has no output {name!r}", f"its outputs are: {', '.join(outputs)}")
    array = next(iter(outputs.values())) if name is None else outputs[name]
    if array.dtype.kind not in "fiub":
        raise operation.refuse(f"the output holds {array.dtype}, not numbers")
    return array.astype(np.float64)


def scores_of(operation: Operation, answer: Answer) -> NDArray[np.float64]:
    """The scores, one a class; minus infinity may be among them.

    Raises:
        DataError: The output has more than one axis that is longer than 1.
        ModelError: It holds NaN or plus infinity.
    """
    array = answer.values if isinstance(answer, Scores) else output_named(operation, answer, None)
    if array.size == 0 or max(array.shape, default=1) != array.size:
        raise operation.refuse(
            f"an output of shape {list(array.shape)} does not hold one score a class", "name another output"
        )
    if np.isnan(array).any() or np.isposinf(array).any():
        raise ModelError("the model's scores hold NaN or infinity")
    return array.reshape(-1)
