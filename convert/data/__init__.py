"""Datasets: named samples with labels, streamed in batches, checked before and while they are read.

Two kinds are read today: an .npz file, and a folder with one folder of images a class. Whatever is missing, damaged or
does not fit the model is a ``DataError``; nothing is ever made up in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.convert.data.dataset import Batch, Dataset, Feeds
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Batch", "Dataset", "Feeds", "open_dataset"]


def open_dataset(path: Path, inputs: tuple[TensorSpec, ...]) -> Dataset:
    """Open samples for a model, and check their names, shapes and dtypes against its inputs.

    Args:
        path: An .npz file, or a folder that holds one folder of images a class.
        inputs: What the model takes, with the batch on the first axis.

    Returns:
        A dataset whose values are checked as they stream: reading every batch checks every sample.

    Raises:
        DataError: There is nothing there, it can't be read, or it does not fit the model.
        MissingDependencyError: It is a folder of images, and Pillow is not installed.
    """
    if path.is_dir():
        from tinsmith.convert.data.folder import open_folder

        return Dataset(open_folder(path, inputs))
    if not path.is_file():
        raise DataError(f"there is no dataset {path}", hint="check the path; tinsmith never makes samples up")
    from tinsmith.convert.data.npz import open_npz

    return Dataset(open_npz(path, inputs))
