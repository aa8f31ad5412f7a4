"""What goes in and out of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Quantization", "TensorSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How integers stand for real numbers: ``real = scale * (integer - zero_point)``.

    Attributes:
        scale: One positive float a tensor, or one a slice along ``axis``.
        zero_point: As many integers as there are scales.
        axis: The axis that is quantized slice by slice; None when one scale serves the whole tensor.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: As the model names it; unique among the inputs, and among the outputs.
        dtype: numpy's name of the stored type, such as ``float32``, ``int8`` or ``str``.
        shape: One length an axis; None where the axis is free. Empty for a scalar.
        quantization: How the stored integers stand for real numbers; None for a tensor that is not quantized.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    quantization: Quantization | None = None

    def fixed(self, batch: int) -> tuple[int, ...]:
        """The shape with a free first axis set to ``batch`` and any other free axis to 1."""
        return tuple(
            (batch if axis == 0 else 1) if length is None else length for axis, length in enumerate(self.shape)
        )

    @property
    def real(self) -> bool:
        """Whether it stands for real numbers: it is float, or its integers are quantized."""
        return self.quantization is not None or self.dtype.startswith(("float", "bfloat"))

    @property
    def batch(self) -> int | None:
        """The length of the first axis, None where it is free; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    def to_json(self) -> dict[str, Any]:
        """The form that stands in manifests and crosses to the child process."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "quantization": None
            if self.quantization is None
            else {
                "scale": list(self.quantization.scale),
                "zero_point": list(self.quantization.zero_point),
                "axis": self.quantization.axis,
            },
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TensorSpec:
        """Read back what ``to_json`` wrote."""
        quantization = data["quantization"]
        return cls(
            name=data["name"],
            dtype=data["dtype"],
            shape=tuple(data["shape"]),
            quantization=None
            if quantization is None
            else Quantization(
                scale=tuple(quantization["scale"]),
                zero_point=tuple(quantization["zero_point"]),
                axis=quantization["axis"],
            ),
        )
