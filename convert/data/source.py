"""Where samples lie, whatever it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tinsmith.convert.data.metadata import Metadata
    from tinsmith.runtime.errors import DataError
    from tinsmith.runtime.preprocessing import Preprocessing
    from tinsmith.runtime.tensors import TensorSpec

Array = NDArray[np.generic]
Feeds = dict[str, Array]
Positions = NDArray[np.int64]

__all__ = ["Array", "Feeds", "Origin", "Positions", "Request", "Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the samples are wanted for, and what a data.yaml says of them.

    Attributes:
        inputs: What the model takes, with the batch on the first axis; None where there is no model.
        preprocessing: What is done to each sample; None for what follows from the model's input alone.
        class_names: The set of labels, in the order of their numbers; empty where it is not given.
        split_column: The column of a table that names the split.
        split_folders: Whether the folder holds one folder a split.
        slices: Columns that say what kind of sample each is; empty takes ``slice`` where there is one.
    """

    inputs: tuple[TensorSpec, ...] | None
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] = ()
    split_column: str = "split"
    split_folders: bool = False
    slices: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What changes the samples or their labels, as text; empty where nothing but the source does."""
        if replace(self, slices=()) == Request(inputs=self.inputs):
            return ""
        steps = None if self.preprocessing is None else self.preprocessing.to_json()
        return repr((steps, self.class_names, self.split_column, self.split_folders))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What decides which samples there are.

    Attributes:
        name: Short, for messages.
        where: In full: a path or a reference.
        files: Files and folders that hold the samples.
        said: Whatever else decides over the samples, as text.
    """

    name: str
    where: str
    files: tuple[Path, ...] = ()
    said: str = ""

    @property
    def sha256(self) -> str:
        """Names the very samples, as 64 hex digits; that of the file or folder where it alone decides."""
        if len(self.files) == 1 and not self.said:
            return sha256_of(self.files[0])
        parts = [*(sha256_of(file) for file in self.files), self.said]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Source(Protocol):
    """Where samples lie.

    Attributes:
        origin: What it is.
        metadata: Labels and the like, of all samples.
        preprocessing: All that is done to a raw sample, what follows from the model's input included.
        random_access: Whether samples may be read in any order; else the positions must rise from first to last.
    """

    origin: Origin
    metadata: Metadata
    preprocessing: Preprocessing
    random_access: bool

    def __len__(self) -> int:
        """How many samples there are; at least one."""
        ...

    def name_of(self, at: int) -> str:
        """What to call a sample in messages, by its position: its file, or its number."""
        ...

    def read(self, batches: Iterable[Positions]) -> Iterator[Feeds]:
        """Read one batch after the other, and check its values.

        Args:
            batches: Which samples stand in each batch; none is empty.

        Raises:
            DataError: A sample can't be read, does not fit the model, or holds NaN or infinity.
        """
        ...

    def examine(self, positions: Positions) -> Iterator[Feeds | DataError]:
        """Read single samples, without a batch axis; of one that can't be used comes the error instead.

        Args:
            positions: Rising.

        Raises:
            DataError: The source itself is damaged, so that no later sample can be read.
        """
        ...
