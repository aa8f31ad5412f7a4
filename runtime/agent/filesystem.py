"""Every change that the agent makes on the disk, one small step at a time, so that each can be cut off in a test."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from typing import TYPE_CHECKING, NoReturn

from tinsmith.runtime.errors import OutputError, TinsmithError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["FileSystem"]

_HINTS = {
    errno.ENOSPC: "free some space on the device, and flash again",
    errno.EDQUOT: "free some space on the device, and flash again",
    errno.EROFS: "the device's disk is read-only: mount it for writing, or choose another folder",
    errno.EACCES: "give the user of the device the folder, or choose another one",
    errno.EPERM: "give the user of the device the folder, or choose another one",
}


class FileSystem:
    """What is written is on the disk when a method returns, and names change in one step.

    Nothing else in ``runtime/agent`` changes files, but the audit log, which mends itself. Each primitive calls
    ``step`` before it does anything: a test that raises there has cut the power at that point. The names of files in
    the making follow from the finished one's, so that a cut leaves one file at most, which the next try overwrites;
    that is why ``runtime/files.py``, with a new name each time, is not used here.

    Every method raises ``OutputError`` where the operating system refuses.
    """

    def step(self, what: str, path: Path) -> None:
        """Called before each change: ``what`` is about to happen to ``path``."""

    def write(self, path: Path, chunks: Iterable[bytes], *, mode: int = 0o644) -> None:
        """Write a file that is whole or not there; what raises in ``chunks`` leaves the old one."""
        made = self.made(path)
        try:
            self.create(made, chunks, mode=mode)
        except TinsmithError:
            self.unlink(made)  # a full disk needs the room
            raise
        self.rename(made, path)
        self.sync_folder(path.parent)

    def check_room(self, folder: Path, needed_bytes: int) -> None:
        """Find out before anything is written whether the disk has room for it."""
        with _translated(folder):
            free_bytes = shutil.disk_usage(folder).free
        if free_bytes < needed_bytes:
            raise OutputError(
                f"cannot write to {folder} on the device: it takes {needed_bytes:,} bytes, and {free_bytes:,} are free",
                hint=_HINTS[errno.ENOSPC],
            )

    def open_lock(self, path: Path) -> int:
        """A handle of a file that is there only to be locked."""
        with _translated(path):
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def made(self, path: Path) -> Path:
        """The name that a file has until it is whole."""
        return path.with_name(f".{path.name}.new")

    def create(self, path: Path, chunks: Iterable[bytes], *, mode: int = 0o644) -> None:
        """Write a file, and wait until the disk has its content; its name is not safe yet."""
        self.step("create", path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with _translated(path), os.fdopen(os.open(path, flags, mode), "wb", buffering=0) as stream:
            for chunk in chunks:
                self.write_chunk(path, stream.fileno(), chunk)
            self.step("sync", path)
            os.fsync(stream.fileno())

    def append(self, path: Path, chunks: Iterable[bytes]) -> None:
        """Add to a file, which is made where there is none; what raises in ``chunks`` leaves what came before it.

        The disk need not have its content yet: ``sync_file`` waits for that.
        """
        self.step("append", path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with _translated(path):
            handle = os.open(path, flags, 0o644)
        try:
            for chunk in chunks:
                with _translated(path):
                    self.write_chunk(path, handle, chunk)
        finally:
            os.close(handle)

    def write_chunk(self, path: Path, handle: int, chunk: bytes) -> None:
        """Write all of some bytes."""
        self.step("write", path)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(handle, rest) :]

    def sync_file(self, path: Path) -> None:
        """Wait until the disk has a file's content, whoever wrote it."""
        self.step("sync", path)
        with _translated(path):
            _sync(path)

    def sync_folder(self, path: Path) -> None:
        """Wait until the disk has the names in a folder."""
        self.step("sync folder", path)
        with _translated(path):
            _sync(path)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or link another name in the same folder; what has that name already is gone."""
        self.step("rename", target)
        with _translated(target):
            source.replace(target)

    def switch(self, link: Path, target: str) -> None:
        """Let a symbolic link lead elsewhere: before it led to the old place, and afterwards to the new one."""
        made = self.made(link)
        self.unlink(made)
        self.step("symlink", made)
        with _translated(made):
            made.symlink_to(target)
        self.rename(made, link)
        self.sync_folder(link.parent)

    def link(self, source: Path, target: Path) -> bool:
        """Give a file a second name; False where the disk's format has no such thing."""
        self.step("link", target)
        with _translated(target):
            try:
                os.link(source, target)
            except OSError as error:
                if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
                    return False
                raise
        return True

    def unlink(self, path: Path) -> None:
        """Take a file or link away, where there is one."""
        if os.path.lexists(path):
            self.step("unlink", path)
            with _translated(path):
                path.unlink()

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, where they are missing."""
        if path.is_dir():
            return
        if not path.parent.is_dir():
            self.make_folder(path.parent)
        self.step("make folder", path)
        with _translated(path):
            path.mkdir(exist_ok=True)
        self.sync_folder(path.parent)

    def remove_tree(self, path: Path) -> None:
        """Take a folder away with all in it, where there is one; links are not followed."""
        with _translated(path):
            inside = list(path.iterdir()) if _is_folder(path) else None
        if inside is None:
            return self.unlink(path)
        for item in inside:
            self.remove_tree(item)
        self.step("remove folder", path)
        with _translated(path):
            path.rmdir()
        return None


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _refuse(path, error)


def _refuse(path: Path, error: OSError) -> NoReturn:
    reason = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0, "look at the device's disk: df, mount, dmesg")
    raise OutputError(f"cannot write {path} on the device: {reason}", hint=hint) from error
