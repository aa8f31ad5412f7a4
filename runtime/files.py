"""Files that are whole or not there: temp file, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import OutputError, UsageError
from tinsmith.runtime.hashing import sha256_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "bytes_of",
    "check_outputs",
    "check_room",
    "check_writable",
    "sha256_of",
    "staged_file",
    "staged_folder",
    "write_bytes",
    "write_folder",
    "write_text",
]

_CHUNK_BYTES = 1 << 20


def sha256_of(path: Path, *beside: Path) -> str:
    """The sha256 of a file and those beside it, or of a folder's files in order, as 64 hex digits.

    The names of all but the first file, relative to the folder, and their sizes count too.
    """
    files = [path, *beside] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = sha256_for(sum(file.stat().st_size for file in files if file.is_file()))
    for file in files:
        if file != path:
            name = file.name if file in beside else file.relative_to(path).as_posix()
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def bytes_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def check_writable(path: Path) -> None:
    """Find out before hours of work whether ``path`` can be written.

    Raises:
        OutputError: The folder is missing or refuses a file, or ``path`` is a folder where a file must go.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder", hint="name a file with --output")
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error


def check_outputs(paths: Sequence[Path], forms: Sequence[str]) -> None:
    """Find out before the work whether files can be written, each in the form that its name asks for.

    Raises:
        UsageError: A name asks for a form that there is not.
        OutputError: A place can't be written to.
    """
    for path in paths:
        if path.suffix not in forms:
            raise UsageError(f"cannot write {path}: its name ends in none of {', '.join(forms)}")
        check_writable(path)


def check_room(path: Path, needed_bytes: int) -> None:
    """Find out before hours of work whether the disk has room for what is to be written to ``path``.

    Raises:
        OutputError: It has not, or the folder is missing.
    """
    try:
        free_bytes = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    if free_bytes < needed_bytes:
        raise OutputError(
            f"cannot write {path}: it takes {needed_bytes:,} bytes, and the disk has {free_bytes:,} left",
            hint="free some space, or choose another place with --output",
        )


@contextlib.contextmanager
def staged_file(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Give a temp file beside ``path`` that becomes ``path`` in one step when the block ends well.

    When the block raises, ``path`` is as it was before and the temp file is gone.

    Args:
        path: What it becomes.
        mode: Its permissions; None for those that any new file gets.

    Raises:
        OutputError: The operating system refused to write.
    """
    staged: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        staged = Path(name)
        yield staged
        _fsync(staged)
        staged.chmod(0o666 & ~_umask() if mode is None else mode)
        staged.replace(path)
        _fsync(path.parent)
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    finally:
        if staged is not None:
            staged.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """Give a temp folder beside ``path`` that becomes ``path`` in one step when the block ends well.

    Only its owner can look into it. When the block raises, the temp folder is gone. A folder that stands at ``path`` by
    then stays as it is, and the new one is dropped.

    Raises:
        OutputError: The operating system refused to write.
    """
    staged: Path | None = None
    try:
        staged = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        yield staged
        for inside in (*staged.rglob("*"), staged):
            _fsync(inside)
        with contextlib.suppress(FileExistsError):
            _move(staged, path)
        _fsync(path.parent)
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)


def _move(folder: Path, path: Path) -> None:
    """Rename a folder; POSIX lets a system say in two ways that another one stands there."""
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(error.errno, error.strerror) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none.

    Raises:
        OutputError: The operating system refused to write.
    """
    with staged_file(path) as staged:
        staged.write_bytes(content)


def write_folder(path: Path, content: Mapping[str, bytes]) -> None:
    """Write the files of a new folder, by their names below it, whole or not at all; one that is there stays.

    Raises:
        OutputError: The operating system refused to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged_folder(path) as staged:
        for name, held in content.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes(held)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 file or none; raises as ``write_bytes``."""
    write_bytes(path, content.encode())


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
