"""What every preprocessing operation is: a few facts, one thing done to one sample, and a JSON form."""

from __future__ import annotations

import abc
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

Array = NDArray[np.generic]
Raw = Path | bytes | str | Array

__all__ = ["Array", "Operation", "Raw", "as_array", "check_count", "check_numbers"]

_LARGEST = float(np.finfo(np.float32).max)
_USUAL_HINT = "mend the operation in the data.yaml or in the bundle's manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(abc.ABC):
    """One operation on one sample, without a batch axis.

    Attributes:
        kind: Its name in data.yaml and in a bundle.
    """

    kind: ClassVar[str]

    @abc.abstractmethod
    def apply(self, sample: Raw) -> Array:
        """Do it to one sample.

        Raises:
            DataError: It is not made for such a sample.
        """

    def to_json(self) -> dict[str, Any]:
        """The form that stands in a bundle: the kind and every setting."""
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        return {"kind": self.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what ``to_json`` wrote, or what stands in a data.yaml.

        Raises:
            DataError: A setting is unknown, missing, or has a value that can't be.
        """
        known = [field.name for field in fields(cls) if field.init]
        unknown = sorted(map(str, data.keys() - {"kind", *known}))
        if unknown:
            raise DataError(
                f"{cls.kind}: unknown setting {', '.join(map(repr, unknown))}",
                hint=f"{cls.kind} takes {', '.join(known) or 'no settings'}",
            )
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "kind"}
        try:
            return cls(**settings)
        except TypeError as error:
            raise DataError(f"{cls.kind}: {_missing(error)}", hint=f"{cls.kind} takes {', '.join(known)}") from None

    def refuse(self, what: str, hint: str = "") -> DataError:
        """The error that names this operation."""
        return DataError(f"{self.kind}: {what}", hint=hint or _USUAL_HINT)


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


def check_count(operation: Operation, **settings: object) -> None:
    """Hold settings to whole numbers from 1 on.

    Raises:
        DataError: One is none.
    """
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise operation.refuse(f"{name} must be a whole number from 1 on, not {value!r}")


def check_numbers(operation: Operation, **settings: object) -> None:
    """Hold settings to single numbers that float32 can hold.

    Raises:
        DataError: One is none.
    """
    for name, value in settings.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
        if not number:
            raise operation.refuse(f"{name} must be a number that float32 can hold, not {value!r}")


def _missing(error: TypeError) -> str:
    """What Python says of missing arguments, in words of the file."""
    said = str(error)
    return "missing setting " + said.split(": ", maxsplit=1)[1] if ": " in said else said
