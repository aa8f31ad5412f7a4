"""Weights of an .onnx model into blocks of 4 or 8 bits, one after the other, however large the model is.

The graph is small and is held in memory; weights are not. Each is read by some rows at a time, packed, and written
before the next is read, so that memory is bound by one packed weight and not by the model.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinsmith.convert.external_data import StoredTensor, read_graph, stored_tensors
from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.blockwise import Blocks, Packed, pack
from tinsmith.convert.quantization.nbits import BlockedWeight, block_weights, put_in_blocks
from tinsmith.convert.quantization.onnx_model import check_float
from tinsmith.convert.quantization.schemes import WeightsInt4, WeightsInt8
from tinsmith.runtime.errors import ModelError, RecipeError
from tinsmith.runtime.files import check_room, staged_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Content = bytes | bytearray | memoryview

__all__ = ["INSIDE_BYTES", "Draft", "blocks_of", "data_path", "draft", "write_again", "write_in_blocks"]

# Weights of a smaller artifact lie in the file itself, which protobuf builds in memory; of a larger one, beside it.
INSIDE_BYTES = 256 << 20
_PORTION_BYTES = 32 << 20
_NEEDED_FOR = "block-wise weights"
# Below this, a tensor stays in the graph: shape inference reads such numbers.
_SMALL_BYTES = 1024
# Where the tensors of a data file begin, so that an engine can map each.
_PAGE = 4096
# Of 8 bits; with fewer in a block, scales would take a tenth of the file.
_BYTE_BLOCK = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is going to be done to a model; nothing of its weights was read for it.

    Attributes:
        source: The model.
        model: Its graph, a ``ModelProto``.
        blocks: How weights are stored.
        weights: Which.
        stored: Where every constant of the model lies now.
    """

    source: Path
    model: Any
    blocks: Blocks
    weights: tuple[BlockedWeight, ...]
    stored: tuple[StoredTensor, ...]

    @property
    def output_bytes(self) -> int:
        """The constants of the result, which has little else."""
        gone = {weight.name for weight in self.weights}
        kept = sum(tensor.nbytes for tensor in self.stored if tensor.proto.name not in gone)
        return kept + sum(self.blocks.packed_bytes(weight.depth, weight.columns) for weight in self.weights)


def blocks_of(scheme: WeightsInt4 | WeightsInt8) -> Blocks:
    """How a scheme stores weights in ONNX: as onnxruntime's quantizer does unless it is told otherwise."""
    if isinstance(scheme, WeightsInt8):
        return Blocks(bits=8, block_size=_BYTE_BLOCK)
    return Blocks(bits=4, block_size=scheme.block_size)


def data_path(output: Path) -> Path:
    """Where the weights of a large .onnx artifact lie: ``small.onnx`` has ``small.onnx.data``."""
    return output.with_name(output.name + ".data")


def draft(source: Path, blocks: Blocks, *, kept: Collection[str] = ()) -> Draft:
    """Read a model's graph, and hold its external data against it.

    Args:
        source: A float .onnx file.
        blocks: How weights are to be stored.
        kept: Outputs of operators whose weights stay float32.

    Raises:
        ModelLoadError: It is damaged, or its external data are missing or too short.
        UnsafeModelError: Its external data lie outside its folder.
        RecipeError: It is quantized already, or holds no weight that blocks make smaller.
    """
    model = read_graph(source)
    stored = tuple(stored_tensors(model, source.parent))
    check_float(model, source)
    weights = block_weights(model, blocks, kept=kept)
    if not weights:
        raise RecipeError(
            f"{source.name} holds no float32 matrix that only MatMul or Gemm read, and only those go into blocks",
            hint="`tinsmith inspect` shows its operators; try dynamic-int8",
        )
    return Draft(source=source, model=model, blocks=blocks, weights=weights, stored=stored)


def write_in_blocks(planned: Draft, output: Path, *, inside_bytes: int = INSIDE_BYTES) -> None:
    """Write a model with its weights in blocks; all of it, or nothing.

    Args:
        planned: From ``draft``; its graph becomes that of the result.
        output: The .onnx file. Constants of more than ``inside_bytes`` together are written to ``data_path(output)``.
        inside_bytes: How much may lie in the file itself.

    Raises:
        OutputError: The disk has no room for it, which is found out first, or can't be written.
        ModelLoadError: The source can't be read to its end.
        ModelError: A weight is NaN or infinite.
    """
    check_room(output, planned.output_bytes)
    with contextlib.ExitStack() as stack:
        sink: _Sink = _Inside()
        if planned.output_bytes > inside_bytes:
            # Whole before the graph that names it takes its place, and gone again if that fails.
            sink = stack.enter_context(_beside(data_path(output)))
        staged = stack.enter_context(staged_file(output))
        _move(planned, sink)
        put_in_blocks(planned.model, planned.weights, planned.blocks)
        staged.write_bytes(planned.model.SerializeToString(deterministic=True))


def write_again(source: Path, output: Path) -> None:
    """Write a model as it is, with all of its external data in ``data_path(output)``; raises as the two above."""
    model = read_graph(source)
    stored = tuple(stored_tensors(model, source.parent))
    write_in_blocks(Draft(source=source, model=model, blocks=Blocks(), weights=(), stored=stored), output)


class _Sink(Protocol):
    """Where the bytes of a constant go."""

    def put(self, tensor: Any, chunks: Iterable[Content]) -> None:
        """Store them, and say so in the ``TensorProto``."""
        ...


class _Inside:
    """Into the model itself."""

    def put(self, tensor: Any, chunks: Iterable[Content]) -> None:
        _forget(tensor)
        tensor.raw_data = b"".join(chunks)


class _Beside:
    """Into a file of their own."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    def put(self, tensor: Any, chunks: Iterable[Content]) -> None:
        start = -(-self._stream.tell() // _PAGE) * _PAGE
        self._stream.seek(start)
        for chunk in chunks:
            self._stream.write(chunk)
        _refer(tensor, self._name, start, self._stream.tell() - start)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[_Beside]:
    with staged_file(path) as staged, staged.open("wb") as stream:
        yield _Beside(stream, path.name)


def _refer(tensor: Any, location: str, offset: int, length: int) -> None:
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    _forget(tensor)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _forget(tensor: Any) -> None:
    """Clear every field that can hold numbers, or say where they are."""
    stores = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    for field in (*stores, "external_data", "data_location"):
        tensor.ClearField(field)


def _move(planned: Draft, sink: _Sink) -> None:
    """Take every constant to its new place, those in blocks packed on the way."""
    graph = planned.model.graph
    by_name = {weight.name: weight for weight in planned.weights}
    own = {id(tensor) for tensor in graph.initializer}
    for tensor in planned.stored:
        weight = by_name.get(tensor.proto.name) if id(tensor.proto) in own else None
        if weight is None:
            _keep(tensor, sink)
            continue
        for made, array in _packed(tensor, weight, planned.blocks):
            graph.initializer.append(made)
            _put(graph.initializer[-1], array.nbytes, [array.reshape(-1).view(np.uint8).data], sink)
        tensor.proto.ClearField("raw_data")
    names = set(by_name)
    for at in reversed(range(len(graph.initializer))):
        if graph.initializer[at].name in names:
            del graph.initializer[at]


def _keep(tensor: StoredTensor, sink: _Sink) -> None:
    if tensor.file is not None:
        _put(tensor.proto, tensor.nbytes, tensor.chunks(), sink)
    elif tensor.nbytes >= _SMALL_BYTES and not isinstance(sink, _Inside):
        sink.put(tensor.proto, list(tensor.chunks()))


def _put(proto: Any, nbytes: int, chunks: Iterable[Content], sink: _Sink) -> None:
    small = nbytes < _SMALL_BYTES
    (_Inside() if small else sink).put(proto, chunks)


def _packed(tensor: StoredTensor, weight: BlockedWeight, blocks: Blocks) -> Iterator[tuple[Any, NDArray[np.generic]]]:
    """The constants that take a weight's place."""
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    packed = Packed.empty(weight.depth, weight.columns, blocks)
    _fill(packed, tensor, weight, blocks)
    for name, array in zip(weight.parts(blocks), packed.arrays, strict=True):
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        yield onnx.TensorProto(name=name, data_type=kind, dims=array.shape), array


def _fill(packed: Packed, tensor: StoredTensor, weight: BlockedWeight, blocks: Blocks) -> None:
    """Read and pack by portions; the next is read while one is packed."""
    for start, rows in _portions(tensor, weight, blocks):
        if not np.isfinite(rows).all():
            raise ModelError(f"the weight {weight.name!r} holds NaN or infinity", hint="the model is damaged")
        part = pack(rows.T if weight.transposed else rows, blocks)
        for whole, piece in zip(packed.arrays, part.arrays, strict=True):
            if weight.transposed:
                whole[start : start + len(piece)] = piece
            else:
                # In bytes of zero points where there are two blocks in each.
                first = start // blocks.block_size * whole.shape[1] // blocks.along(weight.depth)
                whole[:, first : first + piece.shape[1]] = piece


def _portions(tensor: StoredTensor, weight: BlockedWeight, blocks: Blocks) -> Iterator[tuple[int, NDArray[np.float32]]]:
    total, columns = (int(n) for n in tensor.proto.dims)
    # Two blocks share a byte of zero points.
    unit = 1 if weight.transposed else 2 * blocks.block_size
    step = max(1, _PORTION_BYTES // (4 * columns * unit)) * unit
    starts = range(0, total, step)
    with ThreadPoolExecutor(max_workers=1) as pool:
        read = [pool.submit(tensor.rows, 0, min(step, total))]
        for start in starts:
            rows = read.pop().result()
            if start + step < total:
                read.append(pool.submit(tensor.rows, start + step, min(start + 2 * step, total)))
            yield start, rows
