"""What can be read from a trained model's files without building it: no framework, no code of its author."""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["TrainedView", "view_trained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedView:
    """What a trained model's files say.

    Attributes:
        writer: The framework and version that wrote it.
        layers: Layers or operators by class, with their number, the most frequent first.
        parameters: Numbers in its weights, the optimizer's left out.
        weight_bytes: What these take on disk.
        unsafe: Layers that run code of the author.
    """

    writer: str
    layers: tuple[tuple[str, int], ...]
    parameters: int
    weight_bytes: int
    unsafe: tuple[str, ...]


def view_trained(path: Path, model_format: str) -> TrainedView:
    """Read a .keras, HDF5 or SavedModel.

    Raises:
        Exception: Anything at all, if the file is damaged; the caller translates it.
    """
    if model_format == "keras":
        return _view_zip(path)
    return _view_hdf5(path) if model_format == "hdf5" else _view_savedmodel(path)


def _view_zip(path: Path) -> TrainedView:
    h5py = require("h5py", needed_for="reading Keras models")
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        version = json.loads(archive.read("metadata.json"))["keras_version"]
        with archive.open("model.weights.h5") as stream, h5py.File(stream, "r") as weights:
            parameters, size = _count(h5py, weights)
    return _view(f"Keras {version}", config, parameters, size)


def _view_hdf5(path: Path) -> TrainedView:
    h5py = require("h5py", needed_for="reading HDF5 models")
    with h5py.File(path, "r") as file:
        version = file.attrs.get("keras_version", b"unknown")
        config = json.loads(file.attrs["model_config"]) if "model_config" in file.attrs else {}
        parameters, size = _count(h5py, file.get("model_weights", file))
    return _view(f"Keras {version.decode() if isinstance(version, bytes) else version}", config, parameters, size)


def _view_savedmodel(path: Path) -> TrainedView:
    protos = require("tensorflow.core.protobuf.saved_model_pb2", needed_for="reading a SavedModel")
    proto = protos.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graphs = [meta.graph_def for meta in proto.meta_graphs]
    nodes = [node.op for graph in graphs for function in graph.library.function for node in function.node_def]
    version = proto.meta_graphs[0].meta_info_def.tensorflow_version if proto.meta_graphs else "unknown"
    size = sum(file.stat().st_size for file in (path / "variables").glob("*.data-*"))
    return TrainedView(
        writer=f"TensorFlow {version}",
        layers=tuple(Counter(nodes).most_common()),
        parameters=size // 4,
        weight_bytes=size,
        unsafe=tuple(sorted({op for op in nodes if op in ("PyFunc", "EagerPyFunc", "ReadFile", "WriteFile")})),
    )


def _view(writer: str, config: Any, parameters: int, size: int) -> TrainedView:
    layers = list(_layers(config))
    return TrainedView(
        writer=writer,
        layers=tuple(Counter(cls for cls, _ in layers).most_common()),
        parameters=parameters,
        weight_bytes=size,
        unsafe=tuple(name for cls, name in layers if cls == "Lambda"),
    )


def _layers(config: Any) -> Iterator[tuple[str, str]]:
    """Class and name of each layer, those of nested models too."""
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        return
    inner = config["config"]
    nested = inner.get("layers", [])
    if not nested and "layer" not in inner:
        yield str(config.get("class_name")), str(inner.get("name", "?"))
    for layer in [*nested, *([inner["layer"]] if "layer" in inner else [])]:
        yield from _layers(layer)


def _count(h5py: Any, group: Any) -> tuple[int, int]:
    """Numbers and bytes of all datasets but the optimizer's."""
    found = [0, 0]

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            found[0] += math.prod(item.shape)
            found[1] += math.prod(item.shape) * item.dtype.itemsize

    group.visititems(visit)
    return found[0], found[1]
