"""What runs on a Dask worker: an errand, with the files that lie there, or word of which have to be sent."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tinsmith.convert.frameworks import require
from tinsmith.convert.parcels import Parcel, located, take_in
from tinsmith.runtime._version import __version__
from tinsmith.runtime.errors import HostError, OutputError, TinsmithError, error_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.convert.workers import Errand

__all__ = ["Answer", "Lacking", "Refusal", "packed", "run_errand", "take_parcel", "version_here"]

T = TypeVar("T")

# Where parcels lie on this worker, by their names: large files are not hashed again for each errand.
_located: dict[tuple[str, str], str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """What an errand returned."""

    value: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """Files have to be sent first.

    Attributes:
        worker: Its address.
        parcels: What the errand calls them.
    """

    worker: str
    parcels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error of tinsmith, as data: not every one can be pickled.

    Attributes:
        code: Its family.
        exit_code: What the family means.
        message: With the worker's address.
        hint: What to do next.
    """

    code: str
    exit_code: int
    message: str
    hint: str

    @property
    def error(self) -> TinsmithError:
        """The same, to be raised."""
        return error_of(self.code, self.exit_code, self.message, hint=self.hint)


def version_here() -> str:
    """Of tinsmith, on the machine that runs this."""
    return __version__


def packed(errand: Errand[Any]) -> bytes:
    """For ``run_errand``: what a worker can't unpack would end it, were it left to Dask to do so."""
    return pickle.dumps(errand)


def run_errand(packed: bytes, version: str) -> Answer[Any] | Lacking | Refusal:
    """Do it.

    Args:
        packed: An ``Errand``.
        version: Of tinsmith where it comes from.
    """
    worker = require("distributed", needed_for="a worker").get_worker()
    folder = _folder_of(worker)
    try:
        _check_version(version)
        errand: Errand[Any] = pickle.loads(packed)  # noqa: S301 - a worker does what its scheduler says, whatever it is
        found = {called: _find(parcel, folder) for called, parcel in errand.parcels.items()}
        places = {called: place for called, place in found.items() if place is not None}
        if len(places) < len(found):
            return Lacking(worker=worker.address, parcels=tuple(found.keys() - places.keys()))
        return Answer(value=errand.work(errand.task, places, str(folder)))
    except TinsmithError as error:
        message = f"on the worker {worker.address}: {error.message}"
        return Refusal(code=error.code, exit_code=error.exit_code, message=message, hint=error.hint)


def take_parcel(parcel: Parcel, content: Mapping[str, bytes], dask_worker: Any = None) -> str:
    """Put files that were sent where errands find them.

    Returns:
        Why they can't be written; empty where they are there.
    """
    try:
        take_in(parcel, content, _folder_of(dask_worker))
    except OutputError as error:
        return error.message
    except OSError as error:
        return OutputError.from_os_error(_folder_of(dask_worker), error).message
    return ""


def _folder_of(worker: Any) -> Path:
    """Where this worker may write; Dask removes it when the worker ends."""
    return Path(worker.local_directory) / "tinsmith"


def _find(parcel: Any, folder: Path) -> str | None:
    key = (parcel.name, str(folder)) if isinstance(parcel, Parcel) else None
    if key is not None and key in _located and Path(_located[key]).exists():
        return _located[key]
    found = located(parcel, folder)
    if key is not None and found is not None:
        _located[key] = found
    return found


def _check_version(version: str) -> None:
    if version != __version__:
        raise HostError(
            f"it has tinsmith {__version__}, and the search has {version}",
            hint="install the same version on the machines of all workers",
        )
