"""Write a bundle: hash and encrypt its parts, sign what the manifest says of them, and zip it all."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.bundle.container import Entry, crc_of, write_entries
from tinsmith.runtime.bundle.encryption import bound_to, encrypted, key_id_of, nonce_of
from tinsmith.runtime.bundle.manifest import (
    ARTIFACT_FOLDER,
    CIPHER,
    MANIFEST,
    SIGNATURE,
    Encryption,
    Part,
    manifest_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tinsmith.runtime.bundle.manifest import Manifest
    from tinsmith.runtime.bundle.secret_key import SecretKey

    Content = bytes | Path
    Opened = Callable[[], Iterator[bytes]]

__all__ = ["write_bundle"]

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """A part with what is known of its content, which can be read again and again."""

    part: Part
    crc: int
    content: Opened


def write_bundle(
    path: Path,
    manifest: Manifest,
    contents: Mapping[str, Content],
    *,
    signing_key: SecretKey | None = None,
    encryption_key: bytes | None = None,
) -> Manifest:
    """Write a bundle; the same arguments give the same bytes, on every system.

    Args:
        path: The file; whoever needs it whole or not at all gives a staged one.
        manifest: Without ``parts`` and ``encryption``, which follow from the other arguments.
        contents: By the name of the part: its bytes, or the file that holds them; the artifact's files are not
            encrypted yet.
        signing_key: Signs the manifest; None leaves the bundle unsigned.
        encryption_key: Encrypts the artifact's files, 32 bytes; None leaves them in the clear.

    Returns:
        The whole manifest.

    Raises:
        DataError: It would be too large for a bundle.
    """
    opened = {name: functools.partial(_chunks, contents[name]) for name in sorted(contents, key=_place)}
    nonces: dict[str, bytes] = {}
    if encryption_key is not None:
        for name, (sha256, _) in manifest.artifact_parts.items():
            bound = bound_to(manifest.name, manifest.version, name, sha256)
            nonces[name] = nonce_of(encryption_key, bound, opened[name]())
            opened[name] = functools.partial(_sealed, encryption_key, nonces[name], bound, contents[name])
    weighed = [_weigh(name, content) for name, content in opened.items()]
    whole = replace(manifest, parts=tuple(w.part for w in weighed), encryption=_encryption(encryption_key, nonces))
    said = manifest_bytes(whole)
    front = [_weigh(MANIFEST, lambda: iter([said]))]
    if signing_key is not None:
        signature = _signature(signing_key, whole, said)
        front.append(_weigh(SIGNATURE, lambda: iter([signature])))
    with path.open("wb") as stream:
        write_entries(stream, [(_entry(w), w.content()) for w in (*front, *weighed)])
    return whole


def _place(name: str) -> tuple[bool, str]:
    """The artifact comes last: what is small can be read without it."""
    return name.startswith(ARTIFACT_FOLDER), name


def _chunks(content: Content) -> Iterator[bytes]:
    if not isinstance(content, Path):
        yield content
        return
    with content.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _sealed(key: bytes, nonce: bytes, bound: bytes, content: Content) -> Iterator[bytes]:
    return encrypted(key, nonce, bound, _chunks(content))


def _weigh(name: str, content: Opened) -> _Weighed:
    digest = hashlib.sha256()
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in content():
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    crc = crc_of(counted())
    return _Weighed(part=Part(name=name, sha256=digest.hexdigest(), size_bytes=size), crc=crc, content=content)


def _entry(weighed: _Weighed) -> Entry:
    return Entry(name=weighed.part.name, crc=weighed.crc, size_bytes=weighed.part.size_bytes)


def _encryption(key: bytes | None, nonces: Mapping[str, bytes]) -> Encryption | None:
    if key is None:
        return None
    by_part = {name: nonce.hex() for name, nonce in nonces.items()}
    return Encryption(cipher=CIPHER, key_id=key_id_of(key), nonces=by_part)


def _signature(key: SecretKey, manifest: Manifest, said: bytes) -> bytes:
    """Without the time that minisign puts there: the same bundle has to come out the same."""
    comment = f"file:{MANIFEST}\tname:{manifest.name}\tversion:{manifest.version}\thashed"
    return key.sign(said, comment=comment).to_text().encode()
