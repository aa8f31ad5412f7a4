"""The files of a board without root, by SFTP."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from typing import Any

    from tinsmith.devices.boards.trees import Tree

__all__ = ["BoardFiles"]

_HOME = "/root"


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
