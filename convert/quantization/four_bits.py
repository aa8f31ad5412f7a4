"""Weights in 4 bits beside activations in 8, for a .tflite file that has them in 8 bits already.

Seen with ai-edge-litert 1.0.1, 2.0.3 and 2.3 and tflite-runtime 2.14 on a ResNet and a MobileNet: built-in kernels of
CONV_2D and DEPTHWISE_CONV_2D answer with the same bits as on the same integers in 8 bits. So does FULLY_CONNECTED, with
one scale a channel from ai-edge-litert 2.0 on; those before refuse it. XNNPACK takes FULLY_CONNECTED only; it leaves
convolutions to the built-in kernels, which unpack the weights at each run, and round elsewhere than XNNPACK does. So a
convolution in 4 bits is smaller and slower. ai-edge-quantizer 0.10 has no depthwise convolution in 4 bits.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.grid import FOUR_BITS
from tinsmith.convert.quantization.tflite_model import read_float_model
from tinsmith.runtime.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["narrowable", "pack", "require_kernels", "store_in_four_bits", "unpack"]

_NEEDED_FOR = "quantizing a .tflite file"
_WEIGHTS = 1
_INT8 = 9  # TensorType in TensorFlow's lite/schema/schema.fbs
# By BuiltinOperator: the first version that takes 4 bits (lite/tools/versioning/op_version.cc). For FULLY_CONNECTED
# that would be 10, with one scale for the whole matrix. One a channel has no version of its own; 14 came soon after it.
_VERSIONS = {3: 7, 4: 7, 9: 14}
_KINDS = "CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED"


def pack(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two integers from -8 to 7 a byte, the first in its lower half; an odd one at the end stands alone."""
    halves = np.append(values.reshape(-1), np.zeros(values.size % 2, np.int8)).view(np.uint8) & 0xF
    return np.asarray(halves[0::2] | halves[1::2] << 4, np.uint8)


def unpack(packed: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
    """The first ``count`` integers of what ``pack`` gave."""
    halves = np.stack([packed << 4, packed & 0xF0], axis=-1).reshape(-1).view(np.int8) >> 4
    return np.asarray(halves[:count], np.int8)


def narrowable(source: Path) -> tuple[str, ...]:
    """The operators of a float .tflite file whose weights can be in 4 bits, by the first tensor that each computes.

    Raises:
        ModelLoadError: It can't be parsed.
        RecipeError: It is quantized already.
    """
    model = read_float_model(source)
    readers = defaultdict(list)
    for operator in model.subgraphs[0].operators:
        for index in operator.inputs:
            if index >= 0:  # an optional input may be left out
                readers[_buffer(model, index)].append(_takes_four_bits(model, operator))
    every = [_name(model, operator) for operator in model.subgraphs[0].operators]
    able = [name for name, operator in _chosen(model, every) if _takes_four_bits(model, operator)]
    return tuple(
        name for name, operator in _chosen(model, able) if all(readers[_buffer(model, operator.inputs[_WEIGHTS])])
    )


def require_kernels(model: Any, names: Collection[str]) -> None:
    """See to it that operators have a kernel that takes weights in 4 bits.

    Args:
        model: A float ``ModelT``.
        names: Operators, by the first tensor that each computes.

    Raises:
        RecipeError: One has none, computes its weights, or shares them with an operator that has them in 8 bits.
    """
    chosen = list(_chosen(model, names))
    for name, operator in chosen:
        if not _takes_four_bits(model, operator):
            raise RecipeError(
                f"no kernel takes weights in 4 bits for what computes {name!r}",
                hint=f"int8x4 is for {_KINDS} with weights in the file",
            )
    own = {id(operator) for _, operator in chosen}
    others = [operator for operator in model.subgraphs[0].operators if id(operator) not in own]
    read_elsewhere = {_buffer(model, index) for operator in others for index in operator.inputs if index >= 0}
    for name, operator in chosen:
        if _buffer(model, operator.inputs[_WEIGHTS]) in read_elsewhere:
            raise RecipeError(
                f"the weights of what computes {name!r} are another operator's too, which has them in 8 bits",
                hint="name both, or neither, for int8x4",
            )


def store_in_four_bits(content: bytes, names: Collection[str]) -> bytes:
    """Write a quantized .tflite file again, with the weights of some operators in 4 bits.

    Args:
        content: The file; these weights lie on the scale that they have in 4 bits, and what lies beyond is cut off.
        names: As for ``require_kernels``, which these operators have passed.

    Raises:
        RecipeError: One of them is not in 8 bits: ai-edge-quantizer left it in float.
    """
    flatbuffers = require("ai_edge_litert.tools.flatbuffer_utils", needed_for=_NEEDED_FOR)
    model = flatbuffers.read_model_from_bytearray(bytearray(content))
    packed: set[int] = set()
    for name, operator in _chosen(model, names):
        tensor = model.subgraphs[0].tensors[operator.inputs[_WEIGHTS]]
        _narrow(model, tensor, name, packed)
        operator.opcodeIndex = _code(model, _kind(model, operator))
    return bytes(flatbuffers.convert_object_to_bytearray(model))


def _narrow(model: Any, tensor: Any, name: str, packed: set[int]) -> None:
    """Several operators may read one tensor, and several tensors one buffer, which is packed once."""
    schema = require("ai_edge_litert.schema_py_generated", needed_for=_NEEDED_FOR)
    if tensor.type == schema.TensorType.INT4:
        return
    if tensor.type != _INT8:
        raise RecipeError(
            f"the weights of what computes {name!r} are not in 8 bits, so they can't be in 4",
            hint="leave it out of keep",
        )
    if tensor.buffer not in packed:
        values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8)
        steps = FOUR_BITS.steps
        model.buffers[tensor.buffer].data = pack(np.clip(values, -steps, steps))
        packed.add(tensor.buffer)
    tensor.type = schema.TensorType.INT4


def _chosen(model: Any, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    wanted = set(names)
    for operator in model.subgraphs[0].operators:
        name = _name(model, operator)
        if name in wanted:
            yield name, operator


def _name(model: Any, operator: Any) -> str:
    """The first tensor that it computes."""
    tensors = model.subgraphs[0].tensors
    return str(tensors[operator.outputs[0]].name.decode()) if len(operator.outputs) else ""


def _takes_four_bits(model: Any, operator: Any) -> bool:
    if _kind(model, operator) not in _VERSIONS:
        return False
    data = model.buffers[_buffer(model, operator.inputs[_WEIGHTS])].data
    return data is not None and len(data) > 0


def _kind(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _code(model: Any, kind: int) -> int:
    """The place of a kind's operator code of the right version, which gets one if there is none."""
    schema = require("ai_edge_litert.schema_py_generated", needed_for=_NEEDED_FOR)
    for at, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == kind and code.version == _VERSIONS[kind]:
            return at
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = _VERSIONS[kind]
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _buffer(model: Any, index: int) -> int:
    return int(model.subgraphs[0].tensors[index].buffer)
