"""Artifacts that were sent to be measured: kept by their hash, and the least recently used ones go."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import OutputError
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields
    from tinsmith.runtime.measuring.requests import Held

__all__ = ["Shelf", "Shelved"]

_MOST_BYTES = 512 << 20
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """What is there of an artifact.

    Attributes:
        path: Where it lies, or is to be sent to; seen from BASE.
        whole: Whether it is all there.
        part_bytes: How much has come of it.
        part_prefix: Sha256 of what has come.
    """

    path: str
    whole: bool
    part_bytes: int = 0
    part_prefix: str = ""

    def to_json(self) -> dict[str, Any]:
        """The answer's fields."""
        return asdict(self)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From the answer; raises ``DataError``."""
        return cls(
            path=fields.text("path"),
            whole=fields.flag("whole"),
            part_bytes=fields.count("part_bytes", least=0),
            part_prefix=fields.word("part_prefix"),
        )


class Shelf:
    """The folder ``bench`` of a device.

    Args:
        base: The device's folder.
        most_bytes: How much may lie there; what was asked for last goes last.
    """

    def __init__(self, base: Path, *, most_bytes: int = _MOST_BYTES) -> None:
        self._base = base
        self._folder = base / "bench"
        self._most_bytes = most_bytes

    def held(self, request: Held) -> Shelved:
        """Look for an artifact, and take it in where all of it has come.

        Raises:
            OutputError: The folder can't be written.
        """
        whole = self._folder / f"{request.sha256}.{request.format}"
        part = whole.with_name(f"{whole.name}.part")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if part.is_file() and part.stat().st_size >= request.size_bytes:
                self._take_in(part, whole, request.sha256)
            there = whole.is_file()
            if there:
                os.utime(whole)
            self._forget(whole, part, 0 if there else request.size_bytes)
        except OSError as error:
            raise OutputError.from_os_error(self._folder, error) from error
        path = whole if there else part
        return Shelved(path=str(path.relative_to(self._base)), whole=there, **({} if there else _begun(part)))

    def _take_in(self, part: Path, whole: Path, sha256: str) -> None:
        """By its hash; what is something else goes, and is sent anew."""
        if sha256_of(part) != sha256:
            part.unlink()
            return
        _sync(part)  # the transport may have left it in memory
        part.replace(whole)
        _sync(self._folder)

    def _forget(self, whole: Path, part: Path, coming_bytes: int) -> None:
        others = [path for path in self._folder.iterdir() if path not in (whole, part)]
        room = self._most_bytes - coming_bytes - (whole.stat().st_size if whole.is_file() else 0)
        for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True):
            room -= path.stat().st_size
            if room < 0:
                path.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _begun(part: Path) -> dict[str, Any]:
    if not part.is_file():
        return {}
    digest = hashlib.sha256()
    with part.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return {"part_bytes": part.stat().st_size, "part_prefix": digest.hexdigest()}
