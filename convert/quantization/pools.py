"""Pools over a whole image as means: the same numbers, on a grid of their own.

TFLite's int8 AVERAGE_POOL_2D gives its output the scale of its input (``Prepare`` in lite/kernels/pooling.cc refuses
any other). An average over a whole image reaches much less far than what it is taken over, so that few steps of that
grid are left to it; on ResNet8 this was three quarters of all that int8 costs. MEAN has an output scale of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["make_means_of_pools"]

_IN_SPACE = np.array([1, 2], np.int32)
_VERSION = 2  # of MEAN with int8


def make_means_of_pools(model: Any, kept: Collection[str]) -> None:
    """Change a float ``ModelT`` in place; kept pools stay, and those with an activation or a window that is smaller.

    Args:
        model: The model.
        kept: Operators, by the first tensor that each computes.
    """
    schema = require("ai_edge_litert.schema_py_generated", needed_for="quantizing a .tflite file")
    graph = model.subgraphs[0]
    pool = schema.BuiltinOperator.AVERAGE_POOL_2D
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode != pool or not _is_a_mean(graph, operator):
            continue
        if graph.tensors[operator.outputs[0]].name.decode() not in kept:
            _make_mean(schema, model, operator)


def _is_a_mean(graph: Any, operator: Any) -> bool:
    options = operator.builtinOptions
    before, after = (graph.tensors[at].shape for at in (operator.inputs[0], operator.outputs[0]))
    window = [options.filterHeight, options.filterWidth]
    return not options.fusedActivationFunction and list(after[1:3]) == [1, 1] and list(before[1:3]) == window


def _make_mean(schema: Any, model: Any, operator: Any) -> None:
    graph = model.subgraphs[0]
    operator.opcodeIndex = _code_of_means(schema, model)
    operator.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    operator.builtinOptions = schema.ReducerOptionsT()
    operator.builtinOptions.keepDims = True
    operator.inputs = [int(operator.inputs[0]), len(graph.tensors)]
    axes, buffer = schema.TensorT(), schema.BufferT()
    buffer.data = np.frombuffer(_IN_SPACE.tobytes(), np.uint8)
    axes.name = graph.tensors[operator.outputs[0]].name + b";axes"
    axes.type, axes.shape, axes.buffer = schema.TensorType.INT32, np.array([2], np.int32), len(model.buffers)
    graph.tensors.append(axes)
    model.buffers.append(buffer)


def _code_of_means(schema: Any, model: Any) -> int:
    """The place of MEAN among the operator codes, which gets one if it has none."""
    mean = schema.BuiltinOperator.MEAN
    for at, code in enumerate(model.operatorCodes):
        if code.builtinCode == mean and code.version >= _VERSION:
            return at
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = mean
    code.version = _VERSION
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
