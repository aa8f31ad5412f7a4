"""Bearer tokens (RFC 6750): who may ask the server anything."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Tokens"]

_MIN_CHARACTERS = 16
_MAX_FILE_BYTES = 64 << 10


class Tokens:
    """The tokens of a file: one a line; blank lines and those that start with ``#`` do not count.

    The file is read again when it changes, so that tokens come and go without a restart; a change that can't be read
    leaves those of before.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            HostError: It can't be read, strangers may read it, or it holds no token or a short one.
        """
        self._path = path
        self._seen = self._stamp()
        self._tokens = _read(path)

    def admit(self, offered_token: str) -> bool:
        """Whether it is one of them; takes as long for a near miss as for any other of its length."""
        from hmac import compare_digest  # brings OpenSSL with it, which a server without tokens need not load

        self._read_again()
        offered = offered_token.encode("utf-8", "replace")
        found = False
        for token in self._tokens:
            found |= compare_digest(token, offered)
        return found

    def _read_again(self) -> None:
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._tokens, self._seen = _read(self._path), stamp
        except HostError:
            pass

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise _unreadable(self._path, error) from error
        return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()[:_MAX_FILE_BYTES]
    except OSError as error:
        raise _unreadable(path, error) from error
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise HostError(
            f"{path} holds tokens, and others than its owner may read or write it", hint=f"chmod 600 {path}"
        )
    lines = [line.strip() for line in text.splitlines()]
    tokens = tuple(line for line in lines if line and not line.startswith(b"#"))
    if not tokens:
        raise HostError(f"{path} holds no token", hint=_make(path))
    if min(map(len, tokens)) < _MIN_CHARACTERS:
        raise HostError(f"{path} holds a token of less than {_MIN_CHARACTERS} characters", hint=_make(path))
    return tokens


def _make(path: Path) -> str:
    return f"make one with: openssl rand -hex 32 > {path}"


def _unreadable(path: Path, error: OSError) -> HostError:
    return HostError(f"cannot read {path}: {error.strerror}", hint="check the path, and who may read it")
