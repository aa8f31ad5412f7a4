"""An artifact's graph, the same for TFLite and ONNX: tensors with what is stored in them, and operators."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import Quantization

__all__ = ["Graph", "Operator", "Tensor"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """One tensor.

    Attributes:
        name: As the file names it.
        dtype: numpy's name, or ``int4``, ``int2``, ``bfloat16``, ``str``; empty where the file does not say.
        shape: One length an axis; None where it is free or unknown.
        stored: What the file stores in it, in ``shape``; None for a tensor that is computed. Packed types (int4) are
            kept as the bytes that hold them.
        quantization: How stored integers stand for real numbers; None where they don't.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    stored: NDArray[np.generic] | None = None
    quantization: Quantization | None = None

    @property
    def elements(self) -> int:
        """How many numbers it holds, free axes counted as 1."""
        return math.prod(1 if n is None else n for n in self.shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operator:
    """One node.

    Attributes:
        name: TFLite's builtin or custom name; ONNX's with its domain in front where that is not the default one.
        version: TFLite's operator version; ONNX's opset of the domain.
        inputs: Tensors in order; None for one that was left out.
        outputs: Tensors in order.
        custom: Whether it is no builtin of its format: TFLite's custom and Flex operators.
        transposed: Whether the second factor of a product is stored transposed (ONNX's transB).
    """

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    custom: bool = False
    transposed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A whole artifact.

    Attributes:
        format: ``tflite`` or ``onnx``.
        operators: Of all subgraphs, in the order of the file.
        constants: Every tensor that the file stores, once.
        inputs: Of the main graph.
        outputs: Of the main graph.
        needs: What must be there to run it: version of the runtime, opsets.
        metadata: Entries that the author or a tool left, as text.
        overhead: Bytes of known parts of the file that are no weights, by name.
    """

    format: str
    operators: tuple[Operator, ...]
    constants: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    needs: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    overhead: Mapping[str, int] = field(default_factory=dict)

    def producers(self) -> dict[int, Operator]:
        """The operator that computes a tensor, by the tensor's ``id``."""
        return {id(tensor): operator for operator in self.operators for tensor in operator.outputs}
