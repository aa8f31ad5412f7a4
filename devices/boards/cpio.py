"""Archives that the kernel unpacks into memory when it starts; several may stand behind one another.

Format "newc" of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Member", "archive"]

_FOLDER = 0o040755
_FILE = 0o100000
_END = "TRAILER!!!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive.

    Attributes:
        path: Where it will be, without a slash before it.
        content: What it holds.
        mode: Its permissions.
    """

    path: PurePosixPath
    content: bytes
    mode: int = 0o644


def archive(members: Iterable[Member], *, folders: Iterable[str] = ()) -> bytes:
    """An archive, compressed by gzip, of files, all folders that they lie in, and more folders; all belong to root."""
    files = list(members)
    around = {parent for file in files for parent in file.path.parents} | {PurePosixPath(name) for name in folders}
    entries = [(str(folder), _FOLDER, b"") for folder in sorted(around - {PurePosixPath()})]
    entries += [(str(file.path), _FILE | file.mode, file.content) for file in files]
    entries.append((_END, 0, b""))
    return gzip.compress(b"".join(_entry(number, *entry) for number, entry in enumerate(entries, 1)), 1, mtime=0)


def _entry(number: int, path: str, mode: int, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _whole(head) + _whole(content)


def _whole(data: bytes) -> bytes:
    """Up to the next number of bytes that four divides."""
    return data + bytes(-len(data) % 4)
