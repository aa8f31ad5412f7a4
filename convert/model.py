"""A model file or folder, and which of the five formats it is in."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tinsmith.runtime.bundle.reading import is_bundle
from tinsmith.runtime.errors import ModelLoadError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Format", "Model", "identify"]

Format = Literal["keras", "hdf5", "savedmodel", "onnx", "tflite"]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_TFLITE_MAGIC = b"TFL3"
_SUFFIXES: dict[str, Format] = {
    ".keras": "keras",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".onnx": "onnx",
    ".tflite": "tflite",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model on disk.

    Attributes:
        path: A file, or the folder of a SavedModel.
        format: What its content says it is.
    """

    path: Path
    format: Format

    @property
    def is_artifact(self) -> bool:
        """Whether an engine can run it as it is."""
        return self.format in ("tflite", "onnx")


def identify(path: Path) -> Model:
    """Find out a model's format by its content; the name decides only where the content can't.

    Raises:
        ModelLoadError: There is nothing there, it is empty, or it is none of the five formats.
    """
    if not path.exists():
        raise ModelLoadError(f"there is no model {path}", hint="check the path")
    if path.is_dir():
        return _identify_folder(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise ModelLoadError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise ModelLoadError(f"{path} is empty", hint="get the file again from its source")
    return Model(path=path, format=_identify_file(path, head))


def _identify_folder(path: Path) -> Model:
    if (path / "saved_model.pb").is_file():
        return Model(path=path, format="savedmodel")
    raise ModelLoadError(
        f"{path} is a folder without a saved_model.pb",
        hint="name a SavedModel folder, or a .keras, .h5, .onnx or .tflite file",
    )


def _identify_file(path: Path, head: bytes) -> Format:
    if head[4:8] == _TFLITE_MAGIC:
        return "tflite"
    if head == _HDF5_MAGIC:
        return "hdf5"
    if is_bundle(path):
        raise ModelLoadError(
            f"{path} is a bundle, which holds a finished artifact and more",
            hint=f"`tinsmith bundle --show {path}` shows it, and `tinsmith serve {path}` serves it",
        )
    if zipfile.is_zipfile(path):
        return _identify_zip(path)
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    raise ModelLoadError(
        f"{path} is none of the formats that tinsmith reads",
        hint="`tinsmith formats` lists them: .keras, .h5, SavedModel folder, .onnx, .tflite",
    )


def _identify_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ModelLoadError(f"{path} is a damaged zip file: {error}") from error
    if "config.json" in names:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        raise ModelLoadError(
            f"{path} holds arrays (.npz), and no model", hint="samples go to --data; name the model in their place"
        )
    raise ModelLoadError(
        f"{path} is a zip file, but not a Keras model (it holds no config.json)",
        hint="unpack it first if a model lies inside",
    )
