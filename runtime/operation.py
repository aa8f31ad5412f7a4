"""What an operation of pre- and postprocessing is as data: a kind, a few settings, and a JSON form."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

__all__ = ["OperationAsData", "check_choice", "check_count", "check_numbers", "operation_of_kind"]

_LARGEST = 3.4028234663852886e38  # float32's
_USUAL_HINT = "mend the operation in the data.yaml or in the bundle's manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationAsData:
    """One operation; its settings are the fields of its class, and what it does stands in the families below it.

    Attributes:
        kind: Its name in data.yaml and in a bundle.
    """

    kind: ClassVar[str]

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


AnyOperation = TypeVar("AnyOperation", bound=OperationAsData)


def operation_of_kind(data: Mapping[str, Any], kinds: Mapping[str, type[AnyOperation]]) -> AnyOperation:
    """Read one operation of a family.

    Raises:
        DataError: Its kind or a setting is unknown, missing, or has a value that can't be.
    """
    kind = data.get("kind") if hasattr(data, "get") else None
    if not isinstance(kind, str) or kind not in kinds:
        raise DataError(
            f"{kind!r} is no operation" if kind else "an operation without a kind",
            hint=f"there are: {', '.join(kinds)}",
        )
    return kinds[kind].from_json(data)


def check_count(operation: OperationAsData, **settings: object) -> None:
    """Hold settings to whole numbers from 1 on.

    Raises:
        DataError: One is none.
    """
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise operation.refuse(f"{name} must be a whole number from 1 on, not {value!r}")


def check_numbers(operation: OperationAsData, **settings: object) -> None:
    """Hold settings to single numbers that float32 can hold.

    Raises:
        DataError: One is none.
    """
    for name, value in settings.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
        if not number:
            raise operation.refuse(f"{name} must be a number that float32 can hold, not {value!r}")


def check_choice(operation: OperationAsData, choices: tuple[str, ...], **settings: object) -> None:
    """Hold settings to one of a few words.

    Raises:
        DataError: One is none of them.
    """
    for name, value in settings.items():
        if value not in choices:
            raise operation.refuse(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def _missing(error: TypeError) -> str:
    """What Python says of missing arguments, in words of the file."""
    said = str(error)
    return "missing setting " + said.split(": ", maxsplit=1)[1] if ": " in said else said
