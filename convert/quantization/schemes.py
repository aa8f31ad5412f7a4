"""The number formats that a model can be stored and run in: a union of small dataclasses, one a scheme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinsmith.runtime.errors import RecipeError

__all__ = [
    "SCHEME_NAMES",
    "DynamicInt8",
    "Float16",
    "Int8",
    "Int16x8",
    "Scheme",
    "WeightsInt4",
    "WeightsInt8",
    "scheme_named",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Float16:
    """Weights in half precision; inputs and outputs stay float32."""

    name: ClassVar[str] = "float16"
    static: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicInt8:
    """Weights in 8 bits, channel by channel; activations are rounded while the model runs."""

    name: ClassVar[str] = "dynamic-int8"
    static: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8:
    """Weights in 8 bits, channel by channel, and activations in 8 bits whose ranges were observed on samples.

    Attributes:
        io: What the artifact stores in its inputs and outputs. ``int8`` is for devices that have no floats; a session
            takes and gives real numbers either way.
    """

    name: ClassVar[str] = "int8"
    static: ClassVar[bool] = True

    io: Literal["float32", "int8"] = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Int16x8:
    """Weights in 8 bits, channel by channel, and activations in 16; inputs and outputs stay float32."""

    name: ClassVar[str] = "int16x8"
    static: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsInt8:
    """Weights in 8 bits, and nothing else: each becomes a float again where it is used.

    In ONNX by blocks of 128, of the matrices that MatMul and Gemm multiply by; in TFLite channel by channel, of all.
    """

    name: ClassVar[str] = "weights-int8"
    static: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsInt4:
    """The matrices of a transformer in 4 bits, by blocks; all other weights stay float32.

    ONNX computes with floats. TFLite has such blocks only in a kernel that rounds activations to 8 bits while it runs;
    there a matrix whose depth is no multiple of the block goes channel by channel, and is a float again where used.

    Attributes:
        block_size: Weights that share a scale: 16 (ONNX only), 32, 64, 128 or 256.
    """

    name: ClassVar[str] = "weights-int4"
    static: ClassVar[bool] = False

    block_size: int = 32


Scheme = Float16 | DynamicInt8 | Int8 | Int16x8 | WeightsInt8 | WeightsInt4
SCHEME_NAMES = (Float16.name, DynamicInt8.name, Int8.name, Int16x8.name, WeightsInt8.name, WeightsInt4.name)


def scheme_named(name: str) -> Scheme:
    """The scheme of that name, with its defaults.

    Raises:
        RecipeError: There is none.
    """
    schemes: dict[str, Scheme] = {
        s.name: s for s in (Float16(), DynamicInt8(), Int8(), Int16x8(), WeightsInt8(), WeightsInt4())
    }
    if name not in schemes:
        raise RecipeError(f"there is no scheme {name!r}", hint=f"choose one of {', '.join(schemes)}")
    return schemes[name]
