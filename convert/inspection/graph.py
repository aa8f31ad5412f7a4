"""An artifact's graph, the same for TFLite and ONNX: tensors with what is stored in them, and operators."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
        ranked: Whether the number of axes is known; where it is not, ``shape`` is empty and means nothing.
        stored: What the file stores in it, in ``shape``; None for a tensor that is computed. Packed types (int4) are
            kept as the bytes that hold them.
        quantization: How stored integers stand for real numbers; None where they don't.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    ranked: bool = True
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
        custom: Whether it is no builtin of its format: TFLite's custom and Flex operators, ONNX's unknown domains.
        transposed: Whether the second factor of a product is stored transposed (ONNX's transB).
        turned: Whether the first factor of a product is taken transposed (ONNX's transA, TFLite's adj_x).
        axis: The axis of ONNX's Q/DQ operators; None where there is none.
        bits: Bits of a packed weight (MatMulNBits); 0 elsewhere.
        depth: Length of the inner axis of a packed product (MatMulNBits); 0 elsewhere.
        columns: Length of its last axis; 0 elsewhere.
    """

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    custom: bool = False
    transposed: bool = False
    turned: bool = False
    axis: int | None = None
    bits: int = 0
    depth: int = 0
    columns: int = 0

    def input(self, index: int) -> Tensor | None:
        """The input at ``index``; None where it was left out or the operator has fewer."""
        return self.inputs[index] if index < len(self.inputs) else None


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
        external_bytes: Bytes of ``constants`` that lie in files of their own (ONNX's external data).
        files: Those files, in order of their names.
        flaws: What is wrong with it, although it can be read.
    """

    format: str
    operators: tuple[Operator, ...]
    constants: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    needs: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    overhead: Mapping[str, int] = field(default_factory=dict)
    external_bytes: int = 0
    files: tuple[Path, ...] = ()
    flaws: tuple[str, ...] = ()

    def producers(self) -> dict[int, Operator]:
        """The operator that computes a tensor, by the tensor's ``id``."""
        return {id(tensor): operator for operator in self.operators for tensor in operator.outputs}

    def consumers(self) -> dict[int, list[Operator]]:
        """The operators that take a tensor, by the tensor's ``id``."""
        found: dict[int, list[Operator]] = {}
        for operator in self.operators:
            for tensor in operator.inputs:
                if tensor is not None:
                    found.setdefault(id(tensor), []).append(operator)
        return found
