"""Encryption at rest of an artifact: AES-256-GCM with a key that is never in the bundle.

The same bundle has to come out the same twice, and one nonce must never serve two contents. So the nonce is a MAC of
the content: HMAC-SHA256 under a key of its own, over what is bound to it and the content, cut to 96 bits. Equal
contents give equal ciphertexts, which tells that they are equal and nothing else; of 2**32 different contents under
one key, two share a nonce with a chance of 2**-33. (The synthetic IV of Rogaway and Shrimpton, "Deterministic
Authenticated-Encryption", 2006, and of RFC 5297; GCM is NIST SP 800-38D; the keys come from the one that the user
has by the expand step of HKDF, RFC 5869.)
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, BinaryIO

from tinsmith.runtime.bundle.secret_key import write_secret
from tinsmith.runtime.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = [
    "TAG_BYTES",
    "bound_to",
    "decrypted",
    "encrypted",
    "key_id_of",
    "load_encryption_key",
    "nonce_of",
    "write_encryption_key",
]

TAG_BYTES = 16
_KEY_BYTES = 32
_NONCE_BYTES = 12


def write_encryption_key(path: Path) -> None:
    """Write a new key of 32 random bytes that only its owner can read; raises as ``write_secret``."""
    write_secret(path, os.urandom(_KEY_BYTES))


def load_encryption_key(path: Path) -> bytes:
    """Read a key.

    Raises:
        UsageError: It can't be read, or is not 32 bytes long.
    """
    try:
        with path.open("rb") as stream:
            key = stream.read(_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the encryption key {path}: {error.strerror}", hint="check the path") from error
    if len(key) != _KEY_BYTES:
        raise UsageError(
            f"{path} is no encryption key: it must be {_KEY_BYTES} bytes long",
            hint="`tinsmith bundle --new-encryption-key FILE` makes one",
        )
    return key


def key_id_of(key: bytes) -> str:
    """Sixteen hex digits that name a key and tell nothing of it."""
    return _derived(key, b"key id")[:8].hex()


def bound_to(name: str, version: int, part: str, sha256: str) -> bytes:
    """What a ciphertext is bound to: it decrypts under no other name, version, part or content."""
    return f"tinsmith bundle 1\n{name}\n{version}\n{part}\n{sha256}\n".encode()


def nonce_of(key: bytes, bound: bytes, content: Iterable[bytes]) -> bytes:
    """The nonce for a content, which is read whole."""
    mac = hmac.new(_derived(key, b"nonce"), len(bound).to_bytes(8, "big") + bound, hashlib.sha256)
    for chunk in content:
        mac.update(chunk)
    return mac.digest()[:_NONCE_BYTES]


def encrypted(key: bytes, nonce: bytes, bound: bytes, content: Iterable[bytes]) -> Iterator[bytes]:
    """The ciphertext of a content, and behind it the tag of 16 bytes."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import GCM

    encryptor = Cipher(AES(_derived(key, b"cipher")), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(bound)
    for chunk in content:
        yield encryptor.update(chunk)
    yield encryptor.finalize() + encryptor.tag


def decrypted(key: bytes, nonce: bytes, bound: bytes, content: Iterable[bytes], out: BinaryIO) -> None:
    """Write the plaintext of what ``encrypted`` gave; it must not be used before this returns.

    Raises:
        VerificationError: The tag does not fit: key, nonce, ciphertext or what it is bound to is another.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import GCM

    decryptor = Cipher(AES(_derived(key, b"cipher")), GCM(nonce)).decryptor()
    decryptor.authenticate_additional_data(bound)
    held = b""
    for chunk in content:
        held += chunk
        out.write(decryptor.update(held[:-TAG_BYTES]))
        held = held[-TAG_BYTES:]
    try:
        out.write(decryptor.finalize_with_tag(held))
    except (InvalidTag, ValueError):  # the latter for a tag that is too short
        raise VerificationError(
            "the artifact can't be decrypted: the key is another one, or the bundle was changed",
            hint="give the key that the bundle was made with",
        ) from None


def _derived(key: bytes, use: bytes) -> bytes:
    """A key for one use."""
    return hmac.new(key, b"tinsmith bundle " + use + b"\x01", hashlib.sha256).digest()
