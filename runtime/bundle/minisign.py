"""Signatures in minisign's format, so that its program checks ours, and ours checks its.

Ed25519 over the BLAKE2b-512 of the content (``ED``, which minisign calls prehashed), and a second signature over the
first one and the trusted comment. (https://jedisct1.github.io/minisign, "Signature format" and "Public key format".)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

from tinsmith.runtime.errors import UsageError, VerificationError, first_line

__all__ = ["PublicKey", "Signature", "digest", "key_name", "load_public_key"]

_ALGORITHM = b"Ed"
_PREHASHED = b"ED"
_ID_BYTES, _KEY_BYTES, _SIGNATURE_BYTES = 8, 32, 64
_UNTRUSTED = "untrusted comment: "
_TRUSTED = "trusted comment: "
_MOST_BYTES = 8192
_HINT = "get the bundle again from where it was made, or trust another key with --trust"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """What a signature is checked with.

    Attributes:
        id: Eight bytes that name the pair of keys.
        key: Of Ed25519, 32 bytes.
    """

    id: bytes
    key: bytes

    def to_text(self) -> str:
        """The content of a .pub file."""
        return f"{_UNTRUSTED}minisign public key {key_name(self.id)}\n{self.line}\n"

    @property
    def line(self) -> str:
        """The line that names it on a command line."""
        return base64.b64encode(_ALGORITHM + self.id + self.key).decode()

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read a .pub file, or the one line of it that counts.

        Raises:
            UsageError: It is no public key of minisign's.
        """
        lines = text.strip().splitlines()
        try:
            raw = base64.b64decode(lines[-1].strip(), validate=True)
        except (IndexError, binascii.Error, ValueError):
            raw = b""
        if len(raw) != len(_ALGORITHM) + _ID_BYTES + _KEY_BYTES or raw[:2] != _ALGORITHM or len(lines) > 2:
            raise UsageError(
                "this is no public key of minisign's", hint="`tinsmith bundle --new-key NAME` makes NAME.pub"
            )
        return cls(id=raw[2:10], key=raw[10:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature over a content, and one over itself and its comment.

    Attributes:
        key_id: Names the pair of keys, 8 bytes.
        signature: Over the content's BLAKE2b-512, 64 bytes.
        comment: Signed along with it.
        sealed: Over signature and comment, 64 bytes.
    """

    key_id: bytes
    signature: bytes
    comment: str
    sealed: bytes

    def to_text(self) -> str:
        """The content of a .minisig file."""
        first = base64.b64encode(_PREHASHED + self.key_id + self.signature).decode()
        second = base64.b64encode(self.sealed).decode()
        return f"{_UNTRUSTED}signature from tinsmith\n{first}\n{_TRUSTED}{self.comment}\n{second}\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> Signature:
        """Read a .minisig file.

        Raises:
            VerificationError: It is none, or of the older kind that does not hash the content first.
        """
        try:
            untrusted, first, trusted, second = content[:_MOST_BYTES].decode().rstrip("\n").split("\n")
            raw = base64.b64decode(first, validate=True)
            sealed = base64.b64decode(second, validate=True)
        except ValueError as error:  # binascii's and unicode's errors are ones
            raise VerificationError(f"the signature is damaged: {first_line(error)}", hint=_HINT) from error
        if raw[:2] == _ALGORITHM:
            raise VerificationError("the signature is of minisign's older kind", hint="sign without minisign's -l")
        whole = len(raw) == 2 + _ID_BYTES + _SIGNATURE_BYTES and len(sealed) == _SIGNATURE_BYTES
        if not (whole and raw[:2] == _PREHASHED and trusted.startswith(_TRUSTED) and untrusted.startswith(_UNTRUSTED)):
            raise VerificationError("the signature is damaged: it is not in minisign's format", hint=_HINT)
        return cls(key_id=raw[2:10], signature=raw[10:], comment=trusted.removeprefix(_TRUSTED), sealed=sealed)

    def verify(self, content: bytes, key: PublicKey) -> None:
        """Hold it against the content.

        Raises:
            VerificationError: It was made by another key, or of another content or comment.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        public = Ed25519PublicKey.from_public_bytes(key.key)
        try:
            public.verify(self.signature, digest(content))
            public.verify(self.sealed, self.signature + self.comment.encode())
        except InvalidSignature:
            raise VerificationError(
                f"the signature by {key_name(self.key_id)} is wrong: manifest or signature was changed", hint=_HINT
            ) from None


def digest(content: bytes) -> bytes:
    """What is signed in place of a content: its BLAKE2b-512."""
    return hashlib.blake2b(content).digest()


def key_name(key_id: bytes) -> str:
    """The id of a key as minisign prints it: 16 hex digits."""
    return f"{int.from_bytes(key_id, 'little'):016X}"


def load_public_key(reference: str) -> PublicKey:
    """Read a public key.

    Args:
        reference: The path of a .pub file, or the line that names the key (``RWQ...``).

    Raises:
        UsageError: There is no such file, and it is no key either.
    """
    path = Path(reference)
    try:
        return PublicKey.from_text(path.read_bytes()[:_MOST_BYTES].decode())
    except (OSError, UnicodeDecodeError) as error:
        if reference.startswith("RW") and not path.exists():
            return PublicKey.from_text(reference)
        raise UsageError(f"cannot read the public key {reference}: {first_line(error)}") from error
    except UsageError as error:
        raise UsageError(f"{reference}: {error.message}", hint=error.hint) from None
