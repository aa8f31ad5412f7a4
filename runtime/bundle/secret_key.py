"""Secret keys in minisign's format, locked by a password or not.

(https://jedisct1.github.io/minisign, "Secret key format". The password goes through scrypt as libsodium's
``crypto_pwhash_scryptsalsa208sha256`` does it, whose limits are turned into N, r and p in its ``pickparams``.)
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.bundle.minisign import PublicKey, Signature, digest, key_name
from tinsmith.runtime.errors import HostError, OutputError, UsageError, VerificationError, first_line

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "SENSITIVE",
    "Cost",
    "SecretKey",
    "load_secret_key",
    "new_secret_key",
    "read_password",
    "write_key_pair",
    "write_secret",
]

_ALGORITHM, _SCRYPT, _UNLOCKED, _CHECKSUM = b"Ed", b"Sc", b"\0\0", b"B2"
_SALT_BYTES, _LOCKED_BYTES = 32, 8 + 64 + 32
_HEAD_BYTES = 6 + _SALT_BYTES + 16
_COMMENT = "untrusted comment: minisign encrypted secret key"
_LEAST_OPS = 32768
_MOST_MEMORY_BYTES = 4 << 30
_HINT = "`tinsmith bundle --new-key NAME` makes one, and so does `minisign -G`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """How dear it is to try one password.

    Attributes:
        operations: libsodium's opslimit.
        memory_bytes: libsodium's memlimit.
    """

    operations: int
    memory_bytes: int

    def scrypt(self) -> dict[str, int]:
        """What scrypt takes, as n, r and p."""
        operations = max(_LEAST_OPS, self.operations)
        if operations < self.memory_bytes // 32:
            return {"n": _power_below(operations // 32), "r": 8, "p": 1}
        n = _power_below(self.memory_bytes // 1024)
        return {"n": n, "r": 8, "p": max(1, min(operations // 4 // n, 0x3FFFFFFF) // 8)}


# What minisign takes: 1 GiB for two seconds.
SENSITIVE = Cost(operations=1 << 25, memory_bytes=1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """What bundles are signed with.

    Attributes:
        id: Eight bytes that name the pair of keys.
        seed: Of Ed25519, 32 bytes; whoever has it can sign.
        public: What its signatures are checked with.
    """

    id: bytes
    seed: bytes
    public: PublicKey

    def __repr__(self) -> str:
        return f"SecretKey({key_name(self.id)})"

    def sign(self, content: bytes, *, comment: str) -> Signature:
        """Sign a content and a comment; the same ones always get the same signature."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        signature = private.sign(digest(content))
        sealed = private.sign(signature + comment.encode())
        return Signature(key_id=self.id, signature=signature, comment=comment, sealed=sealed)

    def to_text(self, password: str | None = None, *, cost: Cost = SENSITIVE) -> str:
        """The content of a key file.

        Args:
            password: What locks it; None leaves it open to whoever can read the file.
            cost: Of trying a password.
        """
        inside = self.id + self.seed + self.public.key
        if password is None:
            head = _ALGORITHM + _UNLOCKED + _CHECKSUM + bytes(_SALT_BYTES + 16)
            return _text(head + inside + bytes(32))
        salt = os.urandom(_SALT_BYTES)
        limits = cost.operations.to_bytes(8, "little") + cost.memory_bytes.to_bytes(8, "little")
        mask = _mask(password, salt, cost)
        locked = _xor(inside + _checksum(inside), mask)
        return _text(_ALGORITHM + _SCRYPT + _CHECKSUM + salt + limits + locked)


def new_secret_key() -> SecretKey:
    """A new pair of keys, from the system's randomness."""
    return _secret_key(os.urandom(8), os.urandom(32))


def load_secret_key(path: Path, password: str | None = None) -> SecretKey:
    """Read a key file of ours or of minisign's.

    Args:
        path: The file.
        password: What unlocks it; not used where it is not locked.

    Raises:
        UsageError: It can't be read, is no secret key, or is locked and there is no password.
        VerificationError: The password is wrong.
        HostError: Unlocking takes more memory than there is.
    """
    raw = _read(path)
    head, inside = raw[:_HEAD_BYTES], raw[_HEAD_BYTES:]
    if head[2:4] == _SCRYPT:
        inside = _unlocked(path, head, inside, password)
    elif head[2:4] != _UNLOCKED:
        raise UsageError(f"{path} is locked in a way that tinsmith does not know", hint=_HINT)
    key = _secret_key(inside[:8], inside[8:40])
    if key.public.key != inside[40:72]:
        raise UsageError(f"{path} is damaged: its two halves don't belong together", hint=_HINT)
    return key


def read_password(path: Path) -> str:
    """The first line of a file.

    Raises:
        UsageError: It can't be read, or holds nothing there.
    """
    try:
        password = path.read_text(encoding="utf-8").split("\n", 1)[0].removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the password in {path}: {first_line(error)}", hint="check the path") from error
    if not password:
        raise UsageError(f"{path} holds no password", hint="leave out --password-file for a key without one")
    return password


def write_key_pair(
    name: Path, key: SecretKey, *, password: str | None = None, cost: Cost = SENSITIVE
) -> tuple[Path, Path]:
    """Write NAME.key, which only its owner can read, and NAME.pub; neither may be there before.

    Returns:
        Both paths, the secret one first.

    Raises:
        UsageError: One of them exists.
        OutputError: They can't be written.
    """
    secret, public = (name.with_name(name.name + suffix) for suffix in (".key", ".pub"))
    for path in (secret, public):
        if path.exists():
            raise _exists(path)
    write_secret(secret, key.to_text(password, cost=cost).encode())
    try:
        _write_new(public, key.public.to_text().encode(), mode=0o644)
    except BaseException:
        secret.unlink()
        raise
    return secret, public


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read, whole or not at all.

    Raises:
        UsageError: It exists: a key that is overwritten is lost.
        OutputError: It can't be written.
    """
    _write_new(path, content, mode=0o600)


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    staged: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        staged = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        staged.chmod(mode)
        path.hardlink_to(staged)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    finally:
        if staged is not None:
            with contextlib.suppress(OSError):
                staged.unlink()


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists, and a key is never overwritten", hint="choose another name")


def _secret_key(key_id: bytes, seed: bytes) -> SecretKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return SecretKey(id=key_id, seed=seed, public=PublicKey(id=key_id, key=public))


def _read(path: Path) -> bytes:
    try:
        lines = path.read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the secret key {path}: {first_line(error)}", hint=_HINT) from error
    try:
        raw = base64.b64decode(lines[-1].strip(), validate=True)
    except (IndexError, binascii.Error, ValueError):
        raw = b""
    if len(raw) != _HEAD_BYTES + _LOCKED_BYTES or (raw[:2], raw[4:6]) != (_ALGORITHM, _CHECKSUM):
        raise UsageError(f"{path} is no secret key of minisign's", hint=_HINT)
    return raw


def _unlocked(path: Path, head: bytes, locked: bytes, password: str | None) -> bytes:
    if password is None:
        raise UsageError(f"{path} is locked by a password", hint="put the password into a file: --password-file FILE")
    salt, limits = head[6 : 6 + _SALT_BYTES], head[6 + _SALT_BYTES :]
    cost = Cost(operations=int.from_bytes(limits[:8], "little"), memory_bytes=int.from_bytes(limits[8:], "little"))
    inside = _xor(locked, _mask(password, salt, cost))
    if _checksum(inside[:72]) != inside[72:]:
        raise VerificationError(f"the password does not unlock {path}", hint="check the file given to --password-file")
    return inside


def _mask(password: str, salt: bytes, cost: Cost) -> bytes:
    settings: Any = cost.scrypt()
    needed = 128 * settings["r"] * (settings["n"] + settings["p"] + 2)
    if needed > _MOST_MEMORY_BYTES:
        raise _too_dear(needed)
    try:
        return _scrypt(password.encode(), salt, settings)
    except (MemoryError, ValueError) as error:
        raise _too_dear(needed) from error


def _too_dear(needed: int) -> HostError:
    return HostError(
        f"the password's scrypt takes {needed:,} bytes of memory, and that is more than there is",
        hint="do it on a machine with more memory, or use a key without a password",
    )


def _scrypt(password: bytes, salt: bytes, settings: Any) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=_LOCKED_BYTES, **settings).derive(password)


def _checksum(inside: bytes) -> bytes:
    return hashlib.blake2b(_ALGORITHM + inside, digest_size=32).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _power_below(limit: int) -> int:
    """The power of two that libsodium settles on: the first that is above half the limit, from 2 on."""
    power = 2
    while power <= limit // 2:
        power *= 2
    return power


def _text(raw: bytes) -> str:
    return f"{_COMMENT}\n{base64.b64encode(raw).decode()}\n"
