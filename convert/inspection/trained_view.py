"""What can be read from a trained model's files without building it: no framework, no code of its author."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.inspection.text import plain
from tinsmith.runtime.errors import MissingDependencyError
from tinsmith.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

__all__ = ["TrainedView", "view_hdf5", "view_keras"]

_WEIGHTS = "model.weights.h5"
# Weights deflate a little; a member that swells more than this is made to fill the memory or the disk.
_MOST_SWELLING = 100
_FREE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedView:
    """What a trained model's files say.

    Attributes:
        writer: The framework and version that wrote it.
        kind: What ``layers`` counts: ``layer`` or, where no layers are named, ``operator``.
        layers: By class, with their number, the most frequent first.
        parameters: Numbers in its weights, the optimizer's left out; None where the files do not say.
        weight_bytes: What these take; None where the files do not say.
        inputs: As far as the files say.
        outputs: As far as the files say.
        unsafe: Layers and operators that run code of the author.
    """

    writer: str
    kind: str
    layers: tuple[tuple[str, int], ...]
    parameters: int | None
    weight_bytes: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unsafe: tuple[str, ...]


def view_keras(path: Path) -> TrainedView:
    """Read a .keras file.

    Raises:
        Exception: Anything at all, if the file is damaged; the caller translates it.
    """
    h5py = _h5py()
    with zipfile.ZipFile(path) as archive:
        config = json.loads(_member(archive, "config.json"))
        names = archive.namelist()
        written = json.loads(_member(archive, "metadata.json")) if "metadata.json" in names else {}
        if _WEIGHTS not in names:
            return _view(written.get("keras_version"), config, None)
        with _seekable(archive, _WEIGHTS) as stream, h5py.File(stream, "r") as weights:
            return _view(written.get("keras_version"), config, _count(h5py, weights))


def view_hdf5(path: Path) -> TrainedView:
    """Read an HDF5 file that Keras wrote; raises as ``view_keras``."""
    h5py = _h5py()
    with h5py.File(path, "r") as file:
        version = file.attrs.get("keras_version")
        config = json.loads(file.attrs["model_config"]) if "model_config" in file.attrs else {}
        sizes = _count(h5py, file.get("model_weights", file))
    return _view(version, config, sizes)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("h5py", extra="tensorflow", needed_for="reading Keras models") from error
    return h5py


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > _MOST_SWELLING * info.compress_size + _FREE_BYTES:
        raise ValueError(f"{name} swells from {info.compress_size:,} to {info.file_size:,} bytes")
    return archive.read(name)


@contextlib.contextmanager
def _seekable(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """A member that can be read at any place: going back in a deflated one would inflate it from its start again."""
    info = archive.getinfo(name)
    if info.compress_type == zipfile.ZIP_STORED:
        with archive.open(name) as stream:
            yield stream
        return
    if info.file_size > _MOST_SWELLING * info.compress_size + _FREE_BYTES:
        raise ValueError(f"{name} swells from {info.compress_size:,} to {info.file_size:,} bytes")
    with tempfile.TemporaryFile() as copy, archive.open(name) as stream:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        yield copy


def _view(version: object, config: Any, sizes: tuple[int, int] | None) -> TrainedView:
    said = version.decode(errors="replace") if isinstance(version, bytes) else version
    layers = Counter(_layers(config))
    return TrainedView(
        writer=f"Keras {plain(str(said or 'unknown'))}",
        kind="layer",
        layers=tuple((plain(name), count) for name, count in layers.most_common()),
        parameters=sizes[0] if sizes else None,
        weight_bytes=sizes[1] if sizes else None,
        inputs=tuple(_inputs(config)),
        outputs=(),
        unsafe=tuple(_unsafe(config)),
    )


def _layers(config: Any) -> Iterator[str]:
    """The class of each layer, those of nested models and wrapped layers too."""
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        return
    inner = config["config"]
    nested = inner.get("layers", [])
    if not nested and "layer" not in inner:
        yield str(config.get("class_name"))
    for layer in [*nested, *([inner["layer"]] if "layer" in inner else [])]:
        yield from _layers(layer)


def _inputs(config: Any) -> Iterator[TensorSpec]:
    """What the outermost model takes, where a layer says its whole shape."""
    inner = config.get("config") if isinstance(config, dict) else None
    for layer in inner.get("layers", []) if isinstance(inner, dict) else []:
        said = layer.get("config", {})
        shape = said.get("batch_shape") or said.get("batch_input_shape")
        dtype = said.get("dtype", "float32")
        if shape:
            yield TensorSpec(
                name=plain(str(said.get("name", ""))),
                dtype=plain(dtype) if isinstance(dtype, str) else "",
                shape=tuple(None if n is None else int(n) for n in shape),
            )


def _unsafe(config: Any) -> Iterator[str]:
    """Lambda layers and functions wherever they stand, wrapped or as an activation."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.get("class_name") in ("Lambda", "__lambda__"):
                inner = item.get("config")
                yield plain(str(inner.get("name", "lambda") if isinstance(inner, dict) else "lambda"))
            waiting.extend(reversed(item.values()))
        elif isinstance(item, list):
            waiting.extend(reversed(item))


def _count(h5py: Any, group: Any) -> tuple[int, int]:
    """Numbers and bytes of all datasets but those of optimizers and random seeds."""
    found = [0, 0]

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            return
        if not name.startswith("optimizer") and "seed_generator" not in name:
            found[0] += math.prod(item.shape)
            found[1] += math.prod(item.shape) * item.dtype.itemsize

    group.visititems(visit)
    return found[0], found[1]
