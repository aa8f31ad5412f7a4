"""Files that another machine needs: known by content, and sent only where that content does not lie already."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.convert.documents import read_mapping
from tinsmith.convert.external_data import files_of
from tinsmith.convert.model import identify
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.files import sha256_of, write_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Parcel", "Place", "located", "parcel_of", "parcel_of_data", "parcel_of_model", "take_in"]

_DESCRIPTIONS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Some files below one folder.

    Attributes:
        root: The folder, on the machine that sends.
        entry: What is meant by them, below the folder: a file, or a folder that holds them all.
        sha256: Of each file, by its name below the folder, with slashes.
    """

    root: Path
    entry: str
    sha256: Mapping[str, str]

    @property
    def name(self) -> str:
        """The same for parcels that hold the same."""
        return sha256("".join(f"{name}\0{said}\0" for name, said in sorted(self.sha256.items())).encode()).hexdigest()

    def content(self) -> dict[str, bytes]:
        """All of it, in memory."""
        return {name: (self.root / name).read_bytes() for name in self.sha256}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What each machine must have by itself: a folder of samples, or a name that says where to get them.

    Attributes:
        reference: As ``open_dataset`` takes it.
        folder: What must lie there; None for what is no path.
    """

    reference: str
    folder: Path | None


def parcel_of(entry: Path, files: Sequence[Path]) -> Parcel:
    """Of some files that belong together; the entry is one of them, or a folder above."""
    root = Path(os.path.commonpath([entry.parent, *(file.parent for file in files)]))
    return Parcel(
        root=root,
        entry=entry.relative_to(root).as_posix(),
        sha256={file.relative_to(root).as_posix(): sha256_of(file) for file in files},
    )


def parcel_of_model(path: Path) -> Parcel:
    """Of a model of any format, with all that belongs to it; raises as ``identify``."""
    path = path.absolute()
    model = identify(path)
    files = sorted(path.rglob("*")) if path.is_dir() else files_of(model)
    return parcel_of(path, [file for file in files if file.is_file()])


def parcel_of_data(reference: str | Path) -> Parcel | Place:
    """Of samples, where they are one file, or a data.yaml whose files all lie beside it.

    Raises:
        DataError: There is no such file, or a data.yaml can't be read.
    """
    path = Path(reference).absolute()
    if not path.exists():
        return Place(reference=str(reference), folder=None)
    if path.is_dir():
        return Place(reference=str(path), folder=path)
    names = list(_named(path)) if path.suffix.lower() in _DESCRIPTIONS else []
    beside = [Path(os.path.normpath(path.parent / name)) for name in names]
    # a folder is not sent, and what is named in full is not looked for where the description goes
    apart = [file for name, file in zip(names, beside, strict=True) if file.is_dir() or Path(name).is_absolute()]
    return Place(reference=str(path), folder=apart[0]) if apart else parcel_of(path, [path, *beside])


def _named(description: Path) -> Iterator[str]:
    """What a data.yaml names that is there; what is not is for those to say who open it."""
    said = read_mapping(description, what="data.yaml", holds="source, preprocess, labels, split", error=DataError)
    steps = said.get("preprocess")
    words = [step.get("vocabulary") for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    for name in (said.get("source"), said.get("labels"), *words):
        if isinstance(name, str) and (description.parent / name).exists():
            yield name


def located(parcel: Parcel | Place, folder: Path) -> str | None:
    """Where the files lie on this machine: under the same name, or below the folder that ``take_in`` has filled.

    Returns:
        The path, or another reference to samples; None where they have to be sent.

    Raises:
        DataError: They can't be sent, and this machine has none.
    """
    if isinstance(parcel, Place):
        return _reachable(parcel)
    if all(_is_same(parcel.root / name, said) for name, said in parcel.sha256.items()):
        return str(parcel.root / parcel.entry)
    sent = folder / parcel.name
    return str(sent / parcel.entry) if sent.is_dir() else None


def _reachable(place: Place) -> str:
    if place.folder is not None and not (place.folder.exists() and Path(place.reference).exists()):
        raise DataError(
            f"{place.folder} is not there, and samples that are a folder are not sent to workers",
            hint="put it under the same name on each worker's machine, or make one file of the samples",
        )
    return place.reference


def _is_same(path: Path, said: str) -> bool:
    return path.is_file() and sha256_of(path) == said


def take_in(parcel: Parcel, content: Mapping[str, bytes], folder: Path) -> None:
    """Put files that were sent below a folder, whole or not at all.

    Raises:
        OutputError: They can't be written.
    """
    write_folder(folder / parcel.name, content)
