"""Which matrices of a .tflite file ai-edge-quantizer stores in blocks of 4 bits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BLOCK_SIZES", "add_blocks"]

BLOCK_SIZES = (32, 64, 128, 256)
_NEEDED_FOR = "quantizing a .tflite file"
_FULLY_CONNECTED = 9  # BuiltinOperator in TensorFlow's lite/schema/schema.fbs


def add_blocks(manager: Any, model: Any, block_size: int) -> None:
    """Tell a recipe manager to store the matrices of FULLY_CONNECTED in 4 bits, and nothing else.

    Args:
        manager: ai-edge-quantizer's ``RecipeManager``.
        model: The ``ModelT``.
        block_size: One of ``BLOCK_SIZES``. Where the depth of a matrix is no multiple of it, which ai-edge-quantizer
            refuses, each channel has one scale.
    """
    types_ = require("ai_edge_quantizer.qtyping", needed_for=_NEEDED_FOR)
    connected = types_.TFLOperationName.FULLY_CONNECTED
    manager.add_weight_only_config(regex=".*", operation_name=connected, num_bits=4)
    blocks = types_.QuantGranularity(f"BLOCKWISE_{block_size}")
    for name in _divisible(model, block_size):
        scope = f"^{re.escape(name)};?$"
        manager.add_dynamic_config(regex=scope, operation_name=connected, num_bits=4, granularity=blocks)


def _divisible(model: Any, block_size: int) -> Iterator[str]:
    """The outputs of the operators whose matrices can be cut into whole blocks."""
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            if model.operatorCodes[operator.opcodeIndex].builtinCode != _FULLY_CONNECTED:
                continue
            depth = int(graph.tensors[operator.inputs[1]].shape[-1])
            if depth % block_size == 0:
                yield graph.tensors[operator.outputs[0]].name.decode(errors="replace")
