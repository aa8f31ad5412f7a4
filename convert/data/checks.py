"""What every kind of dataset is held to: shapes, dtypes and values that the model can take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.runtime.errors import DataError, NotFiniteError, UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import DTypeLike

    from tinsmith.convert.data.source import Array, Positions
    from tinsmith.runtime.tensors import TensorSpec

__all__ = [
    "as_fed",
    "check_dtype",
    "check_finite",
    "check_shape",
    "fed_dtype",
    "kind_of",
    "match_inputs",
    "takes_real_numbers",
]


def takes_real_numbers(spec: TensorSpec) -> bool:
    """Whether an input is fed real numbers: it is float, or its integers stand for real numbers."""
    return spec.real


def fed_dtype(spec: TensorSpec) -> np.dtype[np.generic]:
    """The dtype that an input is fed with: float32 for real numbers, else its own.

    Raises:
        UnsupportedOperatorError: It takes strings.
    """
    if spec.dtype == "str":
        raise UnsupportedOperatorError(
            f"{spec.name} takes strings, and a dataset holds numbers only",
            hint="export the model without its text layer, and tokenise the text before it",
        )
    return np.dtype(np.float32) if takes_real_numbers(spec) else np.dtype(spec.dtype)


def check_shape(where: str, shape: tuple[int, ...], spec: TensorSpec) -> None:
    """Hold samples to an input's shape.

    Args:
        where: The file and the array, for the message.
        shape: With the samples on axis 0, however many.
        spec: With the batch on axis 0, whatever it is.

    Raises:
        DataError: The rank or a length differs.
    """
    wanted = spec.shape[1:]
    if len(shape) == len(wanted) + 1 and all(w in (None, s) for w, s in zip(wanted, shape[1:], strict=True)):
        return
    raise DataError(
        f"{where} has shape {_text(shape)}, but the model's input {spec.name!r} takes {_text(('n', *wanted))}",
        hint=f"save it with shape {_text(('n', *wanted))}, one sample an entry of the first axis",
    )


def check_dtype(where: str, dtype: DTypeLike, spec: TensorSpec) -> None:
    """Hold samples to the kind of number that an input takes.

    Raises:
        DataError: Text, complex numbers or objects; truth values for numbers; fractions where integers are taken.
    """
    given, wanted = np.dtype(dtype), fed_dtype(spec)
    accepted = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}.get(wanted.kind, "")
    if given.kind in accepted:
        return
    raise DataError(
        f"{where} holds {kind_of(given)} ({given}), but the model's input {spec.name!r} takes "
        f"{kind_of(wanted)} ({wanted})",
        hint=f"save it as {'uint8 or float32' if wanted.kind == 'f' else wanted}",
    )


def as_fed(where: str, array: Array, spec: TensorSpec, positions: Positions) -> Array:
    """Turn checked samples into what an input is fed with, and check each value on the way.

    Raises:
        DataError: A value is NaN or infinite, or does not fit the dtype that the input takes.
    """
    wanted = fed_dtype(spec)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, and is named below
            fed = np.asarray(array, dtype=wanted)
        check_finite(where, fed, positions)
        return fed
    if wanted.kind in "iu":
        limits = np.iinfo(wanted.name)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise DataError(
                f"{where} holds values from {array.min()} to {array.max()}, but {spec.name!r} takes {wanted}",
                hint=f"the model takes {limits.min} to {limits.max}",
            )
    return np.asarray(array, dtype=wanted)


def check_finite(where: str, array: Array, positions: Positions) -> None:
    """Find the first sample that holds NaN or infinity.

    Raises:
        NotFiniteError: There is one.
    """
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0])
    what = "NaN" if np.isnan(array[row]).any() else "infinity"
    raise NotFiniteError(
        f"{where}: sample {positions[row]} (counted from 0) holds {what}",
        hint="remove the sample, or mend what made it; a model can't answer it, and a calibration would be void",
    )


def match_inputs(where: str, keys: Collection[str], inputs: tuple[TensorSpec, ...]) -> dict[str, TensorSpec]:
    """Find the array of each input: by its name, by its name without TensorFlow's ornaments, or ``x``.

    Raises:
        DataError: An input has none.
    """
    if len(inputs) == 1 and "x" in keys:
        return {"x": inputs[0]}
    matched = {}
    for spec in inputs:
        plain = spec.name.removeprefix("serving_default_").rsplit(":", maxsplit=1)[0]
        key = spec.name if spec.name in keys else plain
        if key not in keys:
            raise DataError(
                f"{where} holds {', '.join(map(repr, keys)) or 'nothing'}, but no array for the model's input "
                f"{spec.name!r}",
                hint="save one array an input name" + (", or x" if len(inputs) == 1 else ""),
            )
        matched[key] = spec
    return matched


def kind_of(dtype: np.dtype[np.generic]) -> str:
    """What a dtype holds, in words."""
    names = {"f": "real numbers", "i": "integers", "u": "integers", "b": "truth values", "c": "complex numbers"}
    return names.get(dtype.kind, "text" if dtype.kind in "US" else "no numbers")


def _text(shape: tuple[int | str | None, ...]) -> str:
    return "[" + ", ".join("?" if n is None else str(n) for n in shape) + "]"
