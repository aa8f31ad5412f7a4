"""The files of a board without root, by SFTP: links on it lead where they would if its folder were ``/``."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from typing import Any

__all__ = ["BoardFiles", "resolve"]

_HOME = "/root"
# as the kernel has it (path_resolution(7))
_MOST_LINKS = 40


class BoardFiles(asyncssh.SFTPServer):
    """An SFTP server below a folder; relative paths start in the home of root.

    Args:
        channel: Of asyncssh.
        root: The folder.
    """

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], root: Path) -> None:
        super().__init__(channel, chroot=os.fsencode(root))
        self._root = root

    def map_path(self, path: bytes) -> bytes:
        """Where a path of the board lies here; a link at its end is not followed."""
        wanted = _absolute(path)
        return os.fsencode(_below(self._root, resolve(self._root, wanted.parent) / wanted.name))

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        """Open a file, through links."""
        return super().open(self._followed(path), pflags, attrs)

    def stat(self, path: bytes) -> Any:
        """What a path leads to."""
        return super().stat(self._followed(path))

    def statvfs(self, path: bytes) -> Any:
        """The disk that it lies on."""
        return super().statvfs(self._followed(path))

    def _followed(self, path: bytes) -> bytes:
        return os.fsencode(resolve(self._root, _absolute(path)))


def resolve(root: Path, path: PurePosixPath) -> PurePosixPath:
    """Follow the links of an absolute path below a folder, none of which leads out of it.

    Raises:
        OSError: They go round in circles.
    """
    done, left, links = PurePosixPath("/"), [*path.parts[1:]], 0
    while left:
        part = left.pop(0)
        if part == "..":
            done = done.parent
        elif (link := _below(root, done / part)).is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = PurePosixPath(link.readlink())
            done = PurePosixPath("/") if target.is_absolute() else done
            left = [*(part for part in target.parts if part != "/"), *left]
        else:
            done /= part
    return done


def _absolute(path: bytes) -> PurePosixPath:
    return PurePosixPath(_HOME) / PurePosixPath(os.fsdecode(path))


def _below(root: Path, path: PurePosixPath) -> Path:
    return root.joinpath(*path.parts[1:])
