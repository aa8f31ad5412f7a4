"""What this machine has sent before, and what it has packed for that: a cache, which may be deleted at any time."""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.devices.flashing.differing import write_patch
from tinsmith.runtime.errors import OutputError
from tinsmith.runtime.files import sha256_of, staged_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Parcel", "Store", "store_folder"]

_CHUNK_BYTES = 1 << 20
_MOST_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A file from which the device makes the bundle.

    Attributes:
        path: Of the file.
        sha256: Of the file.
        size_bytes: Of the file.
        form: ``whole``, ``lzma`` or ``bsdiff``, as the agent knows it.
        base: Sha256 of the bundle that a patch was made against; empty for the other forms.
    """

    path: Path
    sha256: str
    size_bytes: int
    form: str
    base: str = ""

    @classmethod
    def of(cls, path: Path, form: str, base: str = "") -> Parcel:
        """From its file."""
        return cls(path=path, sha256=sha256_of(path), size_bytes=path.stat().st_size, form=form, base=base)


class Store:
    """Bundles by their sha256, and parcels of them; safe for many threads, each of which makes nothing twice.

    Args:
        folder: Where they lie; made when something is first kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Parcel] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self._patching = threading.Lock()

    def keep(self, bundle: Path, sha256: str) -> Path:
        """Keep a copy of a bundle, so that the next one can be sent as a patch against it.

        A disk that has no room for it costs nothing but the patch.
        """
        path = self._path(f"{sha256}.tin")
        with self._lock(path.name):
            if not path.is_file():
                with contextlib.suppress(OutputError):
                    self._make(path, lambda staged: shutil.copyfile(bundle, staged))
                    self._forget_old()
        return path if path.is_file() else bundle

    def packed(self, bundle: Path, sha256: str) -> Parcel:
        """The bundle as an .xz file; 1 to 3 MB a second, and nothing the second time."""
        return self._parcel(self._path(f"{sha256}.xz"), "lzma", "", lambda staged: _pack(bundle, staged))

    def has_packed(self, sha256: str) -> bool:
        """Whether ``packed`` takes no time."""
        return self._path(f"{sha256}.xz").is_file()

    def patch(self, base: str, bundle: Path, sha256: str) -> Parcel | None:
        """A patch that makes the bundle of what a device has; None where nothing is known of that."""
        old = self._path(f"{base}.tin")
        if not old.is_file() or sha256_of(old) != base:
            return None
        path = self._path(f"{base}-{sha256}.bsdiff")
        return self._parcel(path, "bsdiff", base, lambda staged: self._write_patch(old, bundle, staged))

    def _write_patch(self, old: Path, new: Path, staged: Path) -> None:
        """One at a time, for sorting takes 17 times the bundle's memory: a fleet may have as many bases as devices."""
        with self._patching:
            write_patch(old, new, staged)

    def _parcel(self, path: Path, form: str, base: str, make: Callable[[Path], object]) -> Parcel:
        with self._lock(path.name):
            if path.name not in self._made or not path.is_file():
                if not path.is_file():
                    self._make(path, make)
                self._made[path.name] = Parcel.of(path, form, base)
            return self._made[path.name]

    def _make(self, path: Path, make: Callable[[Path], object]) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(path, error) from error
        with staged_file(path) as staged:
            make(staged)

    def _forget_old(self) -> None:
        """Keep the newest four gigabytes."""
        found = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in found:
            total += path.stat().st_size
            if total > _MOST_BYTES:
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks[name]


def store_folder() -> Path:
    """Where the store of this user lies: ``tinsmith/bundles`` in the XDG cache folder."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(told) if told.startswith("/") else Path.home() / ".cache"
    return cache / "tinsmith" / "bundles"


def _pack(bundle: Path, staged: Path) -> None:
    with bundle.open("rb") as source, lzma.open(staged, "wb", preset=6) as target:
        while chunk := source.read(_CHUNK_BYTES):
            target.write(chunk)
