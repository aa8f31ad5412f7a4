"""The files of a board without root: its own, and those of the system, which all such boards share and none writes."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["SHARED", "Tree"]

# the folders at the top that are those of the system
SHARED = frozenset({"bin", "boot", "lib", "sbin", "usr"})

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
