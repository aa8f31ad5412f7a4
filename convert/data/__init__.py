"""Datasets: named samples with labels, streamed in batches, checked before and while they are read.

Whatever is missing, damaged or does not fit the model is a ``DataError``; nothing is ever made up in its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.convert.data.dataset import Batch, Dataset, Splits
from tinsmith.convert.data.roles import Roles
from tinsmith.convert.data.shares import Shares
from tinsmith.convert.data.source import Feeds, Request
from tinsmith.convert.references import is_reference
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from tinsmith.convert.data.description import Description, SplitDescription
    from tinsmith.convert.data.source import Source
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Batch", "Dataset", "Feeds", "Roles", "Shares", "Splits", "open_dataset"]

_TABLES = (".csv", ".jsonl")
_DESCRIPTIONS = (".yaml", ".yml")


def open_dataset(reference: str | Path, inputs: tuple[TensorSpec, ...] | None) -> Dataset:
    """Open samples for a model, and check their names, shapes and dtypes against its inputs.

    Args:
        reference: An .npz, .csv or .jsonl file, a folder that holds one folder of images or texts a class,
            ``tfds:NAME[:SPLIT]``, ``package.module:function``, or a data.yaml that names one of them.
        inputs: What the model takes, with the batch on the first axis; None takes the samples as they are.

    Returns:
        A dataset whose values are checked as they stream: reading every batch checks every sample.

    Raises:
        DataError: There is nothing there, it can't be read, or it does not fit the model.
        MissingDependencyError: It needs a package that is not installed, such as Pillow for images.
    """
    path = Path(reference)
    if path.suffix.lower() in _DESCRIPTIONS and path.is_file():
        return _open_described(path, inputs)
    return Dataset(_open_source(str(reference), Request(inputs=inputs)))


def _open_described(path: Path, inputs: tuple[TensorSpec, ...] | None) -> Dataset:
    from tinsmith.convert.data.description import read_description

    said = read_description(path)
    if Path(said.source).suffix.lower() in _DESCRIPTIONS:
        found = _open_another(path, said, inputs)
    else:
        found = _open_source_of(path, said, inputs)
    captured = () if inputs is None else tuple(_open_captured(path.parent / name, inputs) for name in said.captured)
    return found.with_captured(captured) if captured else found


def _open_another(path: Path, said: Description, inputs: tuple[TensorSpec, ...] | None) -> Dataset:
    """What a data.yaml names that only adds captured samples to another one."""
    from tinsmith.convert.data.description import read_description

    beside = path.parent / said.source
    named = read_description(beside).source if said.adds_captured_alone else said.source
    if Path(named).suffix.lower() in _DESCRIPTIONS:
        raise DataError(f"{path}: source names another data.yaml: {said.source}", hint="name its source instead")
    return _open_described(beside, inputs)


def _open_captured(path: Path, inputs: tuple[TensorSpec, ...]) -> Dataset:
    if path.suffix.lower() != ".npz":
        raise DataError(
            f"captured samples lie in an .npz file, unlike {path}", hint="`tinsmith serve --capture` writes it"
        )
    return Dataset(_open_source(str(path), Request(inputs=inputs)))


def _open_source_of(path: Path, said: Description, inputs: tuple[TensorSpec, ...] | None) -> Dataset:
    split = said.split
    request = Request(
        inputs=inputs,
        preprocessing=said.preprocessing,
        class_names=said.labels or (),
        split_column=(split and split.column) or "split",
        split_folders=bool(split and split.folders),
        slices=said.slices,
    )
    beside = path.parent / said.source
    reference = str(beside) if beside.exists() else said.source
    if split is not None:
        _check_split(path, split, reference)
    source = _open_source(reference, request)
    shares = split.shares if split else None
    if shares is not None and source.metadata.splits is not None:
        raise DataError(
            f"{path}: split names shares, but {said.source} says itself which sample is in which split",
            hint="leave out one of them",
        )
    return Dataset(source, name=path.name, shares=shares)


def _check_split(path: Path, split: SplitDescription, reference: str) -> None:
    """Refuse a way to split that the source has not."""
    if split.column is not None and Path(reference).suffix.lower() not in _TABLES:
        raise DataError(
            f"{path}: split names a column, but {reference} is no table", hint="columns are for .csv, .jsonl"
        )
    if split.folders and not Path(reference).is_dir():
        raise DataError(f"{path}: split names folders, but {reference} is no folder", hint="name shares instead")


def _open_source(reference: str, request: Request) -> Source:
    """Open what a reference names, whatever it is."""
    if reference.startswith("tfds:"):
        from tinsmith.convert.data.tfds import open_tfds

        return open_tfds(reference, request)
    path = Path(reference)
    if path.is_dir():
        from tinsmith.convert.data.folder import open_folder

        return open_folder(path, request)
    if not path.is_file() and is_reference(reference):
        from tinsmith.convert.data.functions import open_function

        return open_function(reference, request)
    if not path.is_file():
        raise DataError(f"there is no dataset {path}", hint="check the path; tinsmith never makes samples up")
    if path.suffix.lower() in _TABLES:
        from tinsmith.convert.data.tables import open_table

        return open_table(path, request)
    from tinsmith.convert.data.npz import open_npz

    return open_npz(path, request)
