"""SHA-256 for processes that must stay small."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib

__all__ = ["digest_of", "light_sha256", "sha256_for"]

_MOST_LIGHT_BYTES = 64 << 20


def light_sha256() -> hashlib._Hash:
    """A hash object that does not bring OpenSSL with it: 3.4 MB less, and 3 to 9 times slower (170 MB/s seen).

    Where OpenSSL is in the process already, or Python was built without its own SHA-256, it is OpenSSL's.
    """
    if "_hashlib" not in sys.modules:
        with contextlib.suppress(ImportError):
            own = importlib.import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256")
            return own.sha256()  # type: ignore[no-any-return]
    import hashlib

    return hashlib.sha256()


def sha256_for(size_bytes: int) -> hashlib._Hash:
    """A hash object for so many bytes: light as long as that takes less than half a second."""
    if size_bytes <= _MOST_LIGHT_BYTES:
        return light_sha256()
    import hashlib

    return hashlib.sha256()


def digest_of(content: bytes) -> str:
    """The SHA-256 of a little content, as 64 hex digits."""
    digest = light_sha256()
    digest.update(content)
    return digest.hexdigest()
