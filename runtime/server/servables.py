"""From a path that somebody names to files that nobody else writes, and a servable that says what they are.

An engine maps the file that it runs. Were that the user's own file, rewriting it in place would kill the server with
SIGBUS, or change its weights under its feet; so each is copied first, and the copy is what is hashed, tried and served.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime.artifact import manifest_path, read_artifact
from tinsmith.runtime.errors import DataError, ModelError, ModelLoadError, OutputError, TinsmithError, VerificationError
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.hashing import light_sha256
from tinsmith.runtime.server.serving import Limits, Servable

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Servables", "Source", "Unpack", "named_as"]

_BUNDLE_MAGIC = b"PK\x03\x04"
_CHUNK_BYTES = 1 << 20
_LOCK = "lock"
_BARE_VERSION = "1"
_ELSEWHERE = "name another place in TMPDIR (a unit's StateDirectory goes first)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a model is read from whenever it is loaded, and how it is to be run.

    Attributes:
        name: Under which it is served.
        path: Of a bundle, or of a .tflite or .onnx file.
        engine: Its name; None takes the bundle's, or the default of the format.
        accelerator: ``cpu``, or names in the order to try them; None takes the bundle's, or ``cpu``.
        threads: For one run; None takes the bundle's, or 1.
        limits: How much it takes on.
        may_fall: Whether a bundle of an older version may take a newer one's place.
    """

    name: str
    path: Path
    engine: str | None = None
    accelerator: str | None = None
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    may_fall: bool = False


class Unpack(Protocol):
    """What reads a bundle."""

    def __call__(self, path: Path, folder: Path) -> Servable:
        """Verify a bundle, signature and every hash, and lay its artifact into a folder.

        Args:
            path: Of the bundle; may be written to by others meanwhile.
            folder: Empty, and nobody else's; a folder inside may be made for the artifact.

        Raises:
            TinsmithError: It is not to be trusted, or damaged.
        """
        ...


class Servables:
    """A folder of artifacts that belongs to this process alone, each in a folder named by its content."""

    def __init__(self, root: Path, unpack: Unpack, *, only_bundles: bool = False) -> None:
        """Make the folder, and take away those that servers which have ended left behind.

        Args:
            root: Where they are; made if it is missing. Must be on a disk that may hold the models unencrypted.
            unpack: Reads bundles.
            only_bundles: Whether bare artifacts, which nobody can have signed, are refused.

        Raises:
            OutputError: The operating system refused to write.
            VerificationError: ``root`` can be written to by others.
        """
        self._unpack = unpack
        self._only_bundles = only_bundles
        self._uses: dict[Path, int] = {}
        self._changing = threading.Lock()
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(root)
            with _locked(root / _LOCK, wait=True):  # another server may be starting
                _clear_left_behind(root)
                self.folder = Path(tempfile.mkdtemp(prefix="serving-", dir=root))
                self._lock = _locked(self.folder / _LOCK)
        except OSError as error:
            raise OutputError(f"cannot write {root}: {error.strerror}", hint=_ELSEWHERE) from error

    def open(self, source: Source) -> Servable:
        """Copy what lies at a source's path now, verified; the same bytes have the same path.

        Raises:
            ModelLoadError: It can't be read, or was written to meanwhile.
            VerificationError: A hash or signature does not fit.
            OutputError: The copy can't be written.
            TinsmithError: Whatever else ``unpack`` raises.
        """
        staged = self._make_staged()
        try:
            servable = self._lay(source, staged)
            return self._keep(_as_asked(servable, source), staged)
        except (DataError, ModelError, VerificationError) as error:
            raise named_as(source, error, staged / source.path.name) from error
        except OutputError as error:
            said = error.message.replace(str(staged), str(self.folder.parent))
            raise OutputError(
                f"{source.path} can't be copied: {said}", hint=f"free some space, or {_ELSEWHERE}"
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def still_holds(self, servable: Servable, source: Source) -> bool:
        """Whether what lies at a source's path now has the bytes of ``servable``; False where it can't be opened."""
        try:
            there = self.open(source)
        except TinsmithError:
            return False
        self.release(there)
        return there.path == servable.path

    def release(self, servable: Servable) -> None:
        """Remove what ``open`` gave, unless it was given more than once; what is still mapped stays readable."""
        folder = self._folder_of(servable)
        with self._changing:
            self._uses[folder] -= 1
            if not self._uses[folder]:
                del self._uses[folder]
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _make_staged(self) -> Path:
        try:
            return Path(tempfile.mkdtemp(prefix=".", dir=self.folder))
        except OSError as error:
            raise OutputError.from_os_error(self.folder, error) from error

    def _folder_of(self, servable: Servable) -> Path:
        return self.folder / servable.path.relative_to(self.folder).parts[0]

    def _lay(self, source: Source, staged: Path) -> Servable:
        if _head(source.path) == _BUNDLE_MAGIC:
            return self._unpack(source.path, staged)
        if self._only_bundles:
            raise VerificationError(
                f"{source.path} is no bundle, so nobody can have signed it, and only signed ones are served",
                hint=f"bundle and sign it: tinsmith bundle {source.path} -o {source.path.stem}.tin --key NAME.key",
            )
        return _copy_artifact(source, staged)

    def _keep(self, servable: Servable, staged: Path) -> Servable:
        name = servable.sha256 if list(staged.iterdir()) == [servable.path] else sha256_of(staged)
        kept = self.folder / name
        with self._changing:
            if kept not in self._uses:
                staged.rename(kept)
            self._uses[kept] = self._uses.get(kept, 0) + 1
        return replace(servable, path=kept / servable.path.relative_to(staged))


def named_as(source: Source, error: TinsmithError, copy: Path) -> TinsmithError:
    """The same error, with the path that the user knows in place of that of the copy."""
    said = (text.replace(str(copy), str(source.path)) for text in (error.message, error.hint))
    return type(error).revive(*said)


def _as_asked(servable: Servable, source: Source) -> Servable:
    return replace(
        servable,
        name=source.name,
        engine=source.engine or servable.engine,
        accelerator=source.accelerator or servable.accelerator,
        threads=source.threads or servable.threads,
    )


def _copy_artifact(source: Source, folder: Path) -> Servable:
    """Copy a bare artifact, with its manifest and the files of weights that this names, where there is one."""
    from tinsmith.runtime.session import artifact_format

    path = folder / source.path.name
    sha256 = _copy(source.path, path)
    if manifest_path(source.path).is_file():
        _copy(manifest_path(source.path), manifest_path(path))
        for name in _data_names(path):
            _copy(source.path.parent / name, folder / name)
        read_artifact(path)
    return Servable(name=source.name, version=_BARE_VERSION, path=path, format=artifact_format(path), sha256=sha256)


def _data_names(path: Path) -> list[str]:
    import json

    try:
        names = [str(file["name"]) for file in json.loads(manifest_path(path).read_bytes()).get("data", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # read_artifact says what is wrong with it
    if any(name != Path(name).name for name in names):
        raise VerificationError(f"{manifest_path(path).name} names a file outside its folder")
    return names


def _copy(source: Path, to: Path) -> str:
    """Copy a file, and give the sha256 of what was written."""
    try:
        reading = source.open("rb")
    except OSError as error:
        raise ModelLoadError(f"cannot read {source}: {error.strerror}", hint="check the path") from error
    digest = light_sha256()
    with reading:
        before = _stamp(reading)
        try:
            with to.open("xb") as writing:
                while chunk := reading.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    writing.write(chunk)
            to.chmod(0o400)
        except OSError as error:
            raise OutputError.from_os_error(to, error) from error
        if _stamp(reading) != before:
            raise ModelLoadError(
                f"{source} was written to while it was read", hint="write it beside, and rename it when it is whole"
            )
    return digest.hexdigest()


def _stamp(stream: BinaryIO) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_mtime_ns, status.st_size


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_BUNDLE_MAGIC))
    except OSError as error:
        raise ModelLoadError(f"cannot read {path}: {error.strerror}", hint="check the path") from error


def _check_private(root: Path) -> None:
    status = root.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise VerificationError(
            f"{root} belongs to somebody else, or others may write to it", hint=f"chmod 700 {root}, or {_ELSEWHERE}"
        )


def _locked(path: Path, *, wait: bool = False) -> BinaryIO:
    """A file that no other process has locked; raises ``OSError`` where one has, unless told to wait."""
    import fcntl

    stream = path.open("wb")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise
    return stream


def _clear_left_behind(root: Path) -> None:
    for folder in root.glob("serving-*"):
        # whoever holds the lock is alive
        with contextlib.suppress(OSError), _locked(folder / _LOCK):
            shutil.rmtree(folder, ignore_errors=True)
