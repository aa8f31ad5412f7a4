"""From a verified bundle to files that an engine can load."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.bundle.encryption import bound_to, decrypted, key_id_of
from tinsmith.runtime.bundle.manifest import ARTIFACT_FOLDER
from tinsmith.runtime.errors import OutputError, UsageError, VerificationError
from tinsmith.runtime.files import check_room, sha256_of, staged_folder
from tinsmith.runtime.server.serving import Servable

if TYPE_CHECKING:
    from typing import BinaryIO

    from tinsmith.runtime.bundle.manifest import Encryption
    from tinsmith.runtime.bundle.reading import Bundle

__all__ = ["servable_of", "unpack"]


def servable_of(bundle: Bundle, folder: Path, *, key: bytes | None = None) -> Servable:
    """Unpack a bundle's artifact, and say how it is served; imports numpy.

    Args:
        bundle: From ``open_bundle``.
        folder: As ``unpack`` takes it.
        key: As ``unpack`` takes it.

    Raises:
        DataError: The bundle asks for an operation that this tinsmith does not know, or its golden samples don't fit.
        UsageError: As ``unpack``.
        VerificationError: As ``unpack``.
        OutputError: As ``unpack``.
    """
    manifest = bundle.manifest
    return Servable(
        name=manifest.name,
        version=str(manifest.version),
        path=unpack(bundle, folder, key=key),
        format=manifest.artifact.format,
        sha256=manifest.artifact.sha256,
        engine=manifest.settings.engine,
        accelerator=manifest.settings.accelerator,
        threads=manifest.settings.threads,
        instances=manifest.settings.instances,
        preprocessing=bundle.preprocessing(),
        postprocessing=bundle.postprocessing(),
        golden=bundle.golden(),
        reference=bundle.reference(),
        promise=manifest.promise,
    )


def unpack(bundle: Bundle, folder: Path, *, key: bytes | None = None) -> Path:
    """Put the artifact and the files beside it into a folder of their own, which is whole or not there.

    The folder's name is the sha256 of the manifest, so that two bundles never share one; what is there already is
    verified, and replaced where it is damaged. Only its owner can read it. An encrypted artifact lies there in the
    clear: choose a folder in memory, such as one below /run, where that matters.

    Args:
        bundle: From ``open_bundle``.
        folder: Where to make it.
        key: What the artifact was encrypted with; not used where it was not.

    Returns:
        The path of the .tflite or .onnx file.

    Raises:
        UsageError: The artifact is encrypted, and there is no key.
        VerificationError: The key is another one, or a part is not what the manifest says.
        OutputError: The folder can't be written.
    """
    home = folder / bundle.sha256
    artifact = home / bundle.manifest.artifact.path.name
    _check_key(bundle.manifest.encryption, key)
    there = home.exists()  # asked first: what somebody else makes from here on is left alone
    if there and _is_whole(bundle, home):
        return artifact
    if there:
        _put_aside(home)
    check_room(home, sum(size for _, size in bundle.manifest.artifact_parts.values()))
    with staged_folder(home) as staged:
        for part in bundle.manifest.artifact_parts:
            _write(bundle, part, staged / part.removeprefix(ARTIFACT_FOLDER), key)
    if not _is_whole(bundle, home):  # somebody else was quicker, and what he put there is something else
        raise OutputError(f"{home} is not what was written there", hint="empty it, and try again")
    return artifact


def _check_key(encryption: Encryption | None, key: bytes | None) -> None:
    if encryption is None:
        return
    if key is None:
        raise UsageError(
            f"the artifact is encrypted by the key {encryption.key_id}, and no key is given",
            hint="give the file with that key: --decryption-key FILE",
        )
    if key_id_of(key) != encryption.key_id:
        raise VerificationError(
            f"the artifact is encrypted by the key {encryption.key_id}, and the one given is {key_id_of(key)}",
            hint="give the key that the bundle was made with",
        )


def _is_whole(bundle: Bundle, home: Path) -> bool:
    """Whether everything is there, and is what the manifest says."""
    files = {home / part.removeprefix(ARTIFACT_FOLDER): facts for part, facts in bundle.manifest.artifact_parts.items()}
    try:
        return all(
            file.is_file() and file.stat().st_size == size and sha256_of(file) == sha256
            for file, (sha256, size) in files.items()
        )
    except OSError:
        return False


def _put_aside(home: Path) -> None:
    """Make way for a new folder; whoever has a file of the old one open keeps it."""
    try:
        aside = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}.damaged."))
        with contextlib.suppress(FileNotFoundError):  # somebody else was quicker
            home.rename(aside / home.name)
    except OSError as error:
        raise OutputError.from_os_error(home, error) from error
    shutil.rmtree(aside, ignore_errors=True)


def _write(bundle: Bundle, part: str, path: Path, key: bytes | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        if bundle.manifest.encryption is None or key is None:
            out.writelines(bundle.chunks(part))
            return
        _decrypt(bundle, part, key, out)
    sha256, _ = bundle.manifest.artifact_parts[part]
    if sha256_of(path) != sha256:
        raise VerificationError(f"{part} is not what the manifest says: sha256 differs after decryption")


def _decrypt(bundle: Bundle, part: str, key: bytes, out: BinaryIO) -> None:
    manifest = bundle.manifest
    encryption = manifest.encryption
    if encryption is None:
        raise ValueError("the artifact is not encrypted")
    sha256, _ = manifest.artifact_parts[part]
    bound = bound_to(manifest.name, manifest.version, part, sha256)
    decrypted(key, bytes.fromhex(encryption.nonces[part]), bound, bundle.chunks(part), out)
