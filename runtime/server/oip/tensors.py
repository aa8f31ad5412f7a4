"""One input or output between what a client sends and the array that a model is fed."""

from __future__ import annotations

import itertools
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.runtime.server.documents import shown
from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.oip.datatypes import datatype_of
from tinsmith.runtime.session import quantize, shape_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import Quantization, TensorSpec

    Array = NDArray[np.generic]

__all__ = ["InputTensor", "OutputTensor"]

# what `struct` calls a number of each dtype; those that JSON has no form for are missing
_CODES = {
    "bool": "?",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "float32": "f",
    "float64": "d",
}
_PACKED = 4096  # numbers at a time, which is as fast as all at once, and holds no second list of them
_LONGEST = 2**31 - 1  # LiteRT counts along an axis in 32 bits
_REAL = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class _Form:
    """One way in which an input may come: as numbers of ``dtype``, rounded to a grid where there is one."""

    dtype: np.dtype[Any]
    grid: Quantization | None


class InputTensor:
    """Reads one input, and checks all that can be wrong with it before there is an array.

    A quantized input takes integers of its stored dtype, or real numbers as FP32, which are rounded to its grid.

    Args:
        spec: What the model takes.
        finite: Whether NaN and infinity are refused in binary data too; in JSON they never are numbers.
    """

    def __init__(self, spec: TensorSpec, *, finite: bool) -> None:
        self.name = spec.name
        self.shape = spec.shape
        self.datatype = datatype_of(spec.dtype)
        self._stored = np.dtype(spec.dtype)
        self._finite = finite
        self._forms = {self.datatype: _Form(self._stored, None)}
        quantization = spec.quantization
        if quantization is not None and quantization.axis is None and self._stored.kind in "iu":
            self._forms["FP32"] = _Form(_REAL, quantization)

    def check_shape(self, shape: Any) -> tuple[int, ...]:
        """What a client gives as the shape; a free axis takes 1 and more.

        Raises:
            Refusal: It is no list of whole numbers, or does not fit the model.
        """
        wanted = self.shape
        if type(shape) is not list or len(shape) != len(wanted):
            raise self._misshapen(shape)
        for length, want in zip(shape, wanted, strict=True):
            if type(length) is not int or (length != want if want is not None else not 0 < length <= _LONGEST):
                raise self._misshapen(shape)
        return tuple(shape)

    def check_datatype(self, datatype: Any) -> str:
        """What a client gives as the datatype; raises ``Refusal`` where the input does not come in it."""
        if type(datatype) is str and datatype in self._forms:
            return datatype
        raise Refusal(400, "datatype", f"input {self.name!r} takes {' or '.join(self._forms)}, not {shown(datatype)}")

    def size_bytes(self, shape: tuple[int, ...], datatype: str) -> int:
        """How many bytes a checked shape takes."""
        return math.prod(shape) * self._forms[datatype].dtype.itemsize

    def raw_shape(self, size_bytes: int) -> tuple[int, ...]:
        """The shape of so many bytes of the stored dtype that came without one.

        Raises:
            Refusal: Two axes are free, or the bytes don't fill whole steps of the one that is.
        """
        free = [axis for axis, length in enumerate(self.shape) if length is None]
        step = math.prod(length for length in self.shape if length is not None) * self._stored.itemsize
        if len(free) > 1:
            raise Refusal(
                400, "shape", f"a raw body can't tell the lengths of {len(free)} free axes: {shape_text(self.shape)}"
            )
        steps, rest = divmod(size_bytes, step) if step else (0, 1)
        if rest or steps < 1 or (steps != 1 and not free):
            raise Refusal(
                400,
                "bytes",
                f"input {self.name!r} takes {'a multiple of ' if free else ''}{step:,} bytes of {self.datatype} "
                f"{shape_text(self.shape)}, and the body has {size_bytes:,}",
            )
        return self.check_shape([steps if length is None else length for length in self.shape])

    def from_bytes(self, body: bytes, offset: int, shape: tuple[int, ...], datatype: str) -> Array:
        """Numbers in little-endian order, row by row.

        Args:
            body: Holds them; the array keeps it, and does not copy it where it lies right for the engine.
            offset: Where they begin.
            shape: Checked, and so is that the bytes are there.
            datatype: Checked.

        Raises:
            Refusal: A BOOL is neither 0 nor 1, or a number is NaN or infinite where that is refused.
        """
        form = self._forms[datatype]
        dtype = form.dtype.newbyteorder("<")
        array: Array = np.frombuffer(body, dtype, math.prod(shape), offset).reshape(shape)
        if not array.flags.aligned:
            array = array.copy()
        if form.dtype.kind == "b" and (array.view(np.uint8) > 1).any():
            raise Refusal(400, "data", f"input {self.name!r}: a BOOL is a byte of 0 or 1")
        if (self._finite or form.grid is not None) and form.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refusal(400, "not-finite", f"input {self.name!r} holds NaN or infinity")
        return self._on_grid(array.astype(form.dtype, copy=False), form)

    def from_numbers(self, data: Any, shape: tuple[int, ...], datatype: str, *, booleans: bool) -> Array:
        """Numbers of a JSON list: one after the other, or nested as the shape is.

        Args:
            data: What stands in the document.
            shape: Checked.
            datatype: Checked.
            booleans: Whether one of them may be true or false.

        Raises:
            Refusal: They are too few or too many, no numbers, or beyond what the datatype holds.
        """
        form = self._forms[datatype]
        code = _CODES.get(form.dtype.name)
        if code is None:
            raise Refusal(400, "data", f"input {self.name!r}: {datatype} has no form in JSON; send it as binary data")
        numbers = self._flat(data, shape)
        if booleans or code == "?":
            self._check_booleans(numbers, only=code == "?", datatype=datatype)
        array: Array = np.frombuffer(self._packed(numbers, code, datatype), form.dtype).reshape(shape)
        if form.dtype.kind == "f" and not np.isfinite(array).all():
            raise self._beyond(datatype)
        return self._on_grid(array, form)

    def _on_grid(self, array: Array, form: _Form) -> Array:
        return array if form.grid is None else quantize(array, form.grid, self._stored)

    def _flat(self, data: Any, shape: tuple[int, ...]) -> list[Any]:
        if type(data) is not list:
            raise Refusal(400, "data", f"input {self.name!r}: the data must be a list, not {shown(data)}")
        if not data or type(data[0]) is not list:
            return self._counted(data, math.prod(shape))
        level = self._counted(data, shape[0] if shape else 1)
        for length in shape[1:]:
            if {*map(type, level)} != {list} or {*map(len, level)} != {length}:
                raise Refusal(
                    400, "data", f"input {self.name!r}: the lists of its data are not nested as {list(shape)} is"
                )
            level = list(itertools.chain.from_iterable(level))
        return level

    def _counted(self, data: list[Any], count: int) -> list[Any]:
        if len(data) == count:
            return data
        raise Refusal(400, "data", f"input {self.name!r}: {count:,} are needed where its data has {len(data):,}")

    def _check_booleans(self, numbers: list[Any], *, only: bool, datatype: str) -> None:
        kinds = {*map(type, numbers)}
        if kinds != {bool} if only else bool in kinds:
            raise Refusal(
                400, "data", f"input {self.name!r}: {datatype} takes {'true and false only' if only else 'numbers'}"
            )

    def _packed(self, numbers: list[Any], code: str, datatype: str) -> bytes:
        count = len(numbers)
        try:
            if count <= _PACKED:
                return struct.pack(f"{count}{code}", *numbers)
            return b"".join(
                struct.pack(f"{min(_PACKED, count - at)}{code}", *numbers[at : at + _PACKED])
                for at in range(0, count, _PACKED)
            )
        except (struct.error, OverflowError):
            raise self._unfit(numbers, datatype) from None

    def _unfit(self, numbers: list[Any], datatype: str) -> Refusal:
        takes = (int, float) if datatype.startswith("FP") else (int,)
        for number in numbers:
            if type(number) not in takes:
                kind = "numbers" if float in takes else "whole numbers"
                return Refusal(400, "data", f"input {self.name!r}: {datatype} takes {kind}, not {shown(number)}")
        return self._beyond(datatype)

    def _beyond(self, datatype: str) -> Refusal:
        return Refusal(400, "data", f"input {self.name!r}: a number of its data is beyond what {datatype} holds")

    def _misshapen(self, shape: Any) -> Refusal:
        given = shown(shape)
        if isinstance(shape, list):
            given = f"[{', '.join(shown(length) for length in shape[:8])}{', ...' if len(shape) > 8 else ''}]"
        free = f", where ? is from 1 to {_LONGEST:,}" if None in self.shape else ""
        return Refusal(
            400, "shape", f"input {self.name!r} has shape {given}, but the model takes {shape_text(self.shape)}{free}"
        )


class OutputTensor:
    """Writes one output, in its stored dtype."""

    def __init__(self, spec: TensorSpec) -> None:
        self.name = spec.name
        self.datatype = datatype_of(spec.dtype)
        self._wire = np.dtype(spec.dtype).newbyteorder("<")
        self._real = self._wire.kind == "f"

    def check_json(self) -> None:
        """Raises ``Refusal`` where the datatype has no form in JSON."""
        if self.datatype == "FP16":
            raise Refusal(400, "output", f"output {self.name!r}: FP16 has no form in JSON; ask for it as binary data")

    def to_bytes(self, array: Array) -> memoryview:
        """Numbers in little-endian order, row by row; no copy where the array lies so."""
        return np.ascontiguousarray(array, self._wire).reshape(-1).view(np.uint8).data

    def to_numbers(self, array: Array) -> Array:
        """The numbers one after the other.

        Raises:
            Refusal: One is NaN or infinite, which JSON can't say.
        """
        if self._real and not np.isfinite(array).all():
            raise Refusal(
                400,
                "output",
                f"output {self.name!r} holds NaN or infinity, which JSON can't say; ask for it as binary data",
            )
        return np.ascontiguousarray(array).reshape(-1)
