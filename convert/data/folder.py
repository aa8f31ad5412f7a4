"""Samples in a folder that holds one folder of images a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.data import checks
from tinsmith.convert.data.images import decode, image_shape
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tinsmith.convert.data.dataset import Feeds, Labels, Positions
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["FolderSource", "open_folder"]


class FolderSource:
    """Images in class folders, matched with a model's only input; see ``Source``."""

    def __init__(self, path: Path, spec: TensorSpec, classes: dict[str, list[Path]]) -> None:
        self.path = path
        self.class_names = tuple(classes)
        self.labels: Labels | None = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
        self._files = [file for files in classes.values() for file in files]
        self._spec = spec
        self._shape = image_shape(spec)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, batches: Iterable[Positions]) -> Iterator[Feeds]:
        """Decode batches; see ``Source.read``."""
        for positions in batches:
            images = np.stack([decode(self._files[at], self._shape) for at in positions])
            yield {self._spec.name: checks.as_fed(str(self.path), images, self._spec, positions)}


def open_folder(path: Path, inputs: tuple[TensorSpec, ...]) -> FolderSource:
    """Open a folder of class folders; the sorted names of the folders are the classes 0, 1, 2, ...

    Every file in a class folder that is not hidden must be an image; it is decoded when it is read. The model is fed
    raw values, 0 to 255.

    Raises:
        DataError: As ``open_dataset``.
        MissingDependencyError: Pillow is not installed.
    """
    if len(inputs) != 1:
        names = ", ".join(repr(spec.name) for spec in inputs)
        raise DataError(
            f"{path} is a folder of images, but the model has {len(inputs)} inputs: {names}",
            hint="give an .npz with one array an input name",
        )
    checks.check_dtype(str(path), np.uint8, inputs[0])
    require("PIL.Image", needed_for="reading images")
    return FolderSource(path, inputs[0], _classes(path))


def _classes(path: Path) -> dict[str, list[Path]]:
    folders = sorted((p for p in path.iterdir() if p.is_dir() and not _hidden(p)), key=lambda p: p.name)
    if len(folders) < 2:
        found = f"only the folder {folders[0].name!r}" if folders else "no folders"
        raise DataError(
            f"{path} holds {found}, but a classifier's dataset needs one folder of images for each of its classes",
            hint="arrange the images as CLASS/IMAGE.png, with two classes or more",
        )
    classes = {folder.name: sorted(p for p in folder.iterdir() if p.is_file() and not _hidden(p)) for folder in folders}
    for name, files in classes.items():
        if not files:
            raise DataError(f"{path / name} holds no images", hint="add images of this class, or remove the folder")
    return classes


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")
