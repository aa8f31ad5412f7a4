"""The files of a board without root: its own, and those of the system, which all such boards share and none writes."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from typing import Any

__all__ = ["SHARED", "BoardFiles", "Tree"]

# the folders at the top that are those of the system
SHARED = frozenset({"bin", "boot", "lib", "sbin", "usr"})

_HOME = "/root"
# as the kernel has it (path_resolution(7))
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Where the files of a board lie on this machine.

    Attributes:
        own: The folder that is its ``/``.
        system: The folder that the shared ones come from.
    """

    own: Path
    system: Path

    def place(self, path: PurePosixPath) -> Path:
        """Where an absolute path of the board lies, as if there were no links on it."""
        parts = path.parts[1:]
        root = self.system if parts and parts[0] in SHARED else self.own
        return root.joinpath(*parts)

    def resolve(self, path: PurePosixPath) -> PurePosixPath:
        """Follow the links on an absolute path as the board does: none leads out of it.

        Raises:
            OSError: They go round in circles.
        """
        done, left, links = PurePosixPath("/"), [*path.parts[1:]], 0
        while left:
            part = left.pop(0)
            if part == "..":
                done = done.parent
            elif (link := self.place(done / part)).is_symlink():
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
                target = PurePosixPath(link.readlink())
                done = PurePosixPath("/") if target.is_absolute() else done
                left = [*(part for part in target.parts if part != "/"), *left]
            else:
                done /= part
        return done


class BoardFiles(asyncssh.SFTPServer):
    """The files of a board by SFTP; relative paths start in the home of root.

    Args:
        channel: Of asyncssh.
        tree: Where they lie.
    """

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], tree: Tree) -> None:
        super().__init__(channel, chroot=os.fsencode(tree.own))
        self._tree = tree

    def map_path(self, path: bytes) -> bytes:
        """Where a path of the board lies here; a link at its end is not followed."""
        wanted = _absolute(path)
        return os.fsencode(self._tree.place(self._tree.resolve(wanted.parent) / wanted.name))

    def realpath(self, path: bytes) -> bytes:
        """The same path on the board, without links."""
        return self._followed(path)

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
        return os.fsencode(self._tree.resolve(_absolute(path)))


def _absolute(path: bytes) -> PurePosixPath:
    return PurePosixPath(_HOME) / PurePosixPath(os.fsdecode(path))
