"""Tensors of an .onnx file, wherever they are stored: inside it, or in a file beside it (ONNX's external data).

Tensors are read by rows and never mapped: mapped pages count as memory of the process, so that a walk through a mapped
file looks, and on a small machine is, as large as the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import ModelLoadError, UnsafeModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinsmith.convert.model import Model

__all__ = ["StoredTensor", "data_files", "files_of", "graphs_of", "read_graph", "stored", "stored_tensors"]

_NEEDED_FOR = "reading .onnx files"
_CHUNK_BYTES = 32 << 20
# Bits of elements that share a byte.
_PACKED = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
# numpy has no such elements of its own.
_ODD = (*_PACKED, "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "STRING")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where a tensor's bytes lie.

    Attributes:
        proto: The ``TensorProto``.
        nbytes: How many they are, in the layout of ``raw_data``.
        file: The file beside the model that holds them; None where the model holds them itself.
        offset: Of the first byte in that file.
    """

    proto: Any
    nbytes: int
    file: Path | None = None
    offset: int = 0

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows of a float32 matrix, as [stop - start, columns]; raises ``ModelLoadError`` where they can't be read."""
        columns = int(self.proto.dims[1])
        size = columns * np.dtype(np.float32).itemsize
        content = self._bytes(start * size, (stop - start) * size)
        return np.frombuffer(content, np.dtype("<f4")).reshape(stop - start, columns)

    def array(self) -> NDArray[np.generic]:
        """All elements; of a file beside the model only those are read that are looked at."""
        helper = require("onnx", needed_for=_NEEDED_FOR)
        kind = helper.TensorProto.DataType.Name(self.proto.data_type)
        dtype = None if kind in _ODD else helper.helper.tensor_dtype_to_np_dtype(self.proto.data_type)
        if self.file is not None and dtype is not None and self.nbytes:
            shape = tuple(int(n) for n in self.proto.dims)
            return np.memmap(self.file, dtype, mode="r", offset=self.offset, shape=shape)
        tensor = self.proto
        if self.file is not None:
            tensor = helper.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=b"".join(self.chunks()))
        elements: NDArray[np.generic] = helper.numpy_helper.to_array(tensor)
        return elements

    def chunks(self) -> Iterator[bytes | bytearray | memoryview]:
        """All bytes in order, some at a time; raises ``ModelLoadError`` where they can't be read."""
        for start in range(0, self.nbytes, _CHUNK_BYTES):
            yield self._bytes(start, min(_CHUNK_BYTES, self.nbytes - start))

    def _bytes(self, start: int, size: int) -> bytes | bytearray | memoryview:
        if self.file is None:
            return memoryview(_inside(self.proto))[start : start + size]
        content = bytearray(size)
        try:
            with self.file.open("rb", buffering=0) as stream:
                stream.seek(self.offset + start)
                _fill(stream, memoryview(content))
        except (OSError, EOFError) as error:
            raise ModelLoadError(f"{self.file} can't be read: {first_line(error)}") from error
        return content


def read_graph(path: Path) -> Any:
    """Parse an .onnx file into a ``ModelProto`` and leave its external data where they are.

    Raises:
        ModelLoadError: It is damaged.
    """
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no public base
        raise ModelLoadError(f"{path} is damaged: {first_line(error)}") from error


def stored_tensors(model: Any, folder: Path) -> Iterator[StoredTensor]:
    """All constants of a ``ModelProto``, those in loops and branches too; nothing of them is read.

    Args:
        model: From ``read_graph``.
        folder: Of the model's file.

    Raises:
        UnsafeModelError: External data lie outside the folder, whether by their path or by a link.
        ModelLoadError: A file is missing, or shorter than the tensor needs.
    """
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    for graph in graphs_of(model.graph):
        attributes = (attribute for node in graph.node for attribute in node.attribute)
        for tensor in (*graph.initializer, *(a.t for a in attributes if a.HasField("t"))):
            yield stored(onnx, tensor, folder)


def graphs_of(graph: Any) -> Iterator[Any]:
    """The graph, and those inside its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from graphs_of(inner)


def data_files(path: Path) -> tuple[Path, ...]:
    """The files beside an .onnx file that hold its weights, in order of their names; raises as ``stored_tensors``."""
    found = {tensor.file for tensor in stored_tensors(read_graph(path), path.parent)}
    return tuple(sorted(file for file in found if file is not None))


def files_of(model: Model) -> tuple[Path, ...]:
    """All that a model consists of: its file or folder, and the files beside it; raises as ``stored_tensors``."""
    return (model.path, *data_files(model.path)) if model.format == "onnx" else (model.path,)


def stored(onnx: Any, tensor: Any, folder: Path) -> StoredTensor:
    """Where one tensor lies; raises as ``stored_tensors``."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return StoredTensor(proto=tensor, nbytes=_content_bytes(onnx, tensor))
    said = {item.key: item.value for item in tensor.external_data}
    file = _inside_folder(said.get("location", ""), folder, tensor.name)
    needed = _content_bytes(onnx, tensor)
    try:
        offset, length = int(said.get("offset", 0)), int(said.get("length", needed))
    except ValueError as error:
        raise _mismatched(tensor.name, file, f"says {first_line(error)}") from error
    if length != needed or offset < 0:
        raise _mismatched(tensor.name, file, f"names {length:,} bytes at {offset:,}, and its shape needs {needed:,}")
    size = file.stat().st_size
    if offset + length > size:
        raise _mismatched(tensor.name, file, f"ends at byte {offset + length:,}, and the file at {size:,}")
    return StoredTensor(proto=tensor, nbytes=needed, file=file, offset=offset)


def _inside_folder(location: str, folder: Path, name: str) -> Path:
    """The file that a location names; refused where it is not below the model's folder, links followed."""
    home = folder.resolve()
    file = (home / location).resolve()
    if not location or Path(location).is_absolute() or ".." in Path(location).parts or not file.is_relative_to(home):
        raise UnsafeModelError(
            f"the weight {name!r} is said to lie in {location!r}, outside the model's folder",
            hint="external data must lie beside the model; a path that leads elsewhere is how files are stolen",
        )
    if not file.is_file():
        raise ModelLoadError(
            f"the weight {name!r} lies in {location!r}, and there is no such file beside the model",
            hint=f"get {location} from where the model came from, and put it into {folder}",
        )
    return file


def _mismatched(name: str, file: Path, why: str) -> ModelLoadError:
    return ModelLoadError(
        f"the weight {name!r} and its data in {file.name} don't belong together: it {why}",
        hint="the model and its data are of different exports, or were cut off; get both again from their source",
    )


def _content_bytes(onnx: Any, tensor: Any) -> int:
    elements = math.prod(int(n) for n in tensor.dims)
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if kind in _PACKED:
        return -(-elements * _PACKED[kind] // 8)
    if kind in ("STRING", "UNDEFINED"):
        return 0
    return elements * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _inside(tensor: Any) -> bytes:
    """The bytes of a tensor that the model holds itself, in whichever of protobuf's fields."""
    if tensor.HasField("raw_data"):
        stored: bytes = tensor.raw_data
        return stored
    array = require("onnx", needed_for=_NEEDED_FOR).numpy_helper.to_array(tensor)
    return bytes(array.tobytes())


def _fill(stream: Any, view: memoryview) -> None:
    while view:
        read = stream.readinto(view)
        if not read:
            raise EOFError("it ends before the tensor does")
        view = view[read:]
