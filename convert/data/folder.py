"""Samples in a folder that holds one folder of images, or of texts, a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.data import checks
from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.images import image_preprocessing
from tinsmith.convert.data.metadata import OUTSIDE, Metadata, split_names
from tinsmith.convert.data.records import ImageFiles, Records, RecordSource, TextFiles
from tinsmith.convert.data.slices import slices_of_folder
from tinsmith.convert.data.source import Origin
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.convert.data.source import Request
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["only_input", "open_folder", "records_of_files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One file, the folder that names its class, and the folder that names its split."""

    file: Path
    label: str
    split: str


def open_folder(path: Path, request: Request) -> RecordSource:
    """Open a folder of class folders; the sorted names of the folders are the classes 0, 1, 2, ...

    Every file in a class folder that is not hidden must be a sample: a text where its name ends in .txt, else an image.
    Without other preprocessing, an image is fed raw, 0 to 255. A table ``slices.csv`` in the folder may say of each
    ``file`` which slices it is in.

    Raises:
        DataError: As ``open_dataset``.
        MissingDependencyError: Pillow is not installed.
    """
    spec = only_input(path, request.inputs)
    entries = _entries(path, split_folders=request.split_folders)
    files = [entry.file for entry in entries]
    records, preprocessing = records_of_files(files, path, spec, request.preprocessing)
    name = "x" if spec is None else spec.name
    fit = Fit(where=str(path), spec=spec, preprocessing=preprocessing)
    origin = Origin(name=path.resolve().name, where=str(path), files=(path,), said=request.said)
    return RecordSource({name: (records, fit)}, _metadata(path, entries, request), origin, files)


def only_input(path: Path, inputs: tuple[TensorSpec, ...] | None) -> TensorSpec | None:
    """The model's only input; None where there is no model.

    Raises:
        DataError: It has several.
    """
    if inputs is None:
        return None
    if len(inputs) != 1:
        names = ", ".join(repr(spec.name) for spec in inputs)
        raise DataError(
            f"{path} holds one raw sample for each answer, but the model has {len(inputs)} inputs: {names}",
            hint="give an .npz with one array an input name",
        )
    checks.fed_dtype(inputs[0])
    return inputs[0]


def records_of_files(
    files: Sequence[Path], path: Path, spec: TensorSpec | None, given: Preprocessing | None
) -> tuple[Records, Preprocessing]:
    """Read files as texts or as images, and say what is done to each.

    Raises:
        DataError: They are of both kinds, or the model takes no such samples.
        MissingDependencyError: They are images, and Pillow is not installed.
    """
    texts = [file for file in files if file.suffix.lower() == ".txt"]
    if texts and len(texts) < len(files):
        other = next(file for file in files if file.suffix.lower() != ".txt")
        raise DataError(f"{path} holds both texts and other files: {texts[0]}, {other}", hint="keep them apart")
    if texts:
        return TextFiles(files), given or Preprocessing()
    preprocessing = image_preprocessing(given, spec)
    if spec is not None and given is None:
        checks.check_dtype(str(path), np.uint8, spec)
    require("PIL.Image", needed_for="reading images")
    return ImageFiles(files), preprocessing


def _entries(path: Path, *, split_folders: bool) -> list[_Entry]:
    """All samples: class after class, and split after split where there are any."""
    if not split_folders:
        return [_Entry(file=f, label=name, split="") for name, files in _classes(path).items() for f in files]
    folders = _folders(path)
    if not folders:
        raise DataError(f"{path} holds no folders", hint="arrange the samples as SPLIT/CLASS/FILE")
    return [
        _Entry(file=file, label=name, split=folder.name)
        for folder in folders
        for name, files in _classes(folder).items()
        for file in files
    ]


def _metadata(path: Path, entries: list[_Entry], request: Request) -> Metadata:
    names = request.class_names or tuple(sorted({entry.label for entry in entries}))
    places = {name: at for at, name in enumerate(names)}
    return Metadata(
        labels=np.asarray([places.get(entry.label, OUTSIDE) for entry in entries], dtype=np.int64),
        class_names=names,
        outside={at: entry.label for at, entry in enumerate(entries) if entry.label not in places},
        splits=split_names(str(path), [entry.split for entry in entries]) if request.split_folders else None,
        slices=slices_of_folder(path, [entry.file for entry in entries], request.slices),
    )


def _classes(path: Path) -> dict[str, list[Path]]:
    folders = _folders(path)
    if len(folders) < 2:
        found = f"only the folder {folders[0].name!r}" if folders else "no folders"
        raise DataError(
            f"{path} holds {found}, but a classifier's dataset needs one folder of samples for each of its classes",
            hint="arrange the samples as CLASS/FILE.png or CLASS/FILE.txt, with two classes or more",
        )
    classes = {folder.name: sorted(p for p in folder.iterdir() if p.is_file() and not _hidden(p)) for folder in folders}
    for name, files in classes.items():
        if not files:
            raise DataError(f"{path / name} holds no images", hint="add samples of this class, or remove the folder")
    return classes


def _folders(path: Path) -> list[Path]:
    return sorted((p for p in path.iterdir() if p.is_dir() and not _hidden(p)), key=lambda p: p.name)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")
