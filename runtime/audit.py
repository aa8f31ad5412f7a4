"""The audit log: one line for each load, swap, trial, commit, refusal, rollback and unload; no change goes unnoticed.

A line is a JSON document that holds the sha256 of the line before it. Changing, dropping or moving a line breaks the
chain there. Lines cut off at the end leave no trace in the file itself: keep the newest ``head`` elsewhere to notice.
"""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from tinsmith.runtime.errors import OutputError, VerificationError
from tinsmith.runtime.hashing import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["EVENTS", "AuditLog", "Newest", "Verified", "line_of", "newest_line", "newest_of", "verify_log"]

EVENTS = ("load", "swap", "trial", "commit", "refusal", "rollback", "unload", "repair")
_FIRST = "0" * 64
_CHUNK_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A log whose chain holds.

    Attributes:
        lines: How many it has.
        head: The sha256 of the last one; 64 zeros for an empty log.
    """

    lines: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The last whole line of a log.

    Attributes:
        head: Its sha256; 64 zeros for an empty log.
        facts: What it says; nothing for an empty log, and for a line that is none.
    """

    head: str
    facts: dict[str, Any]


class AuditLog:
    """Appends to a log; safe from many threads and processes at once, on one machine.

    A line that a power cut tore is taken out again by the next ``append``, which says so in a line of its own.

    Args:
        path: Of the log.
        events: What may be told of; besides, ``repair``.
        now: The clock; that of this machine unless given.
    """

    def __init__(
        self, path: Path, *, events: Sequence[str] = EVENTS, now: Callable[[], datetime.datetime] | None = None
    ) -> None:
        self.path = path
        self._events = events
        self._now = now or (lambda: datetime.datetime.now(datetime.timezone.utc))

    def append(self, event: str, **facts: Any) -> str:
        """Write a line, and wait until the disk has it.

        Args:
            event: One of those that the log was opened for.
            facts: What it was about, as JSON takes it: ``model``, ``version``, ``sha256``, ``reason``, ``by``.

        Returns:
            The sha256 of the line.

        Raises:
            OutputError: The operating system refused to write.
        """
        if event not in self._events:
            message = f"{event!r} is none of {tuple(self._events)}"
            raise ValueError(message)
        try:
            return self._append(event, facts)
        except OSError as error:
            raise OutputError.from_os_error(self.path, error) from error

    def _append(self, event: str, facts: dict[str, Any]) -> str:
        import fcntl

        is_new = not self.path.exists()
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # ends when the file is closed
            torn = _cut_torn(stream)
            whole_bytes = stream.seek(0, os.SEEK_END)
            head = _head(stream)
            try:
                if torn:
                    head = self._write(stream, head, "repair", {"reason": f"a torn line of {torn} bytes was taken out"})
                head = self._write(stream, head, event, facts)
                os.fsync(stream.fileno())
            except OSError:  # a full disk took half a line
                os.ftruncate(stream.fileno(), whole_bytes)
                raise
        if is_new:
            _fsync_folder(self.path)
        return head

    def _write(self, stream: BinaryIO, head: str, event: str, facts: dict[str, Any]) -> str:
        line = line_of(self._now(), event, facts, previous=head)
        rest = memoryview(line + b"\n")
        while rest:
            rest = rest[stream.write(rest) :]
        return digest_of(line)


def line_of(at: datetime.datetime, event: str, facts: Mapping[str, Any], *, previous: str) -> bytes:
    """A line without its newline, in ASCII; its sha256 is the head of a log that ends with it."""
    moment = at.isoformat(timespec="milliseconds")
    return json.dumps({"at": moment, "event": event, **facts, "previous": previous}, ensure_ascii=True).encode()


def newest_of(line: bytes) -> Newest:
    """What ``newest_line`` says of a log whose last whole line this is; of an empty log, where it is empty."""
    return Newest(head=digest_of(line), facts=_facts(line)) if line else Newest(head=_FIRST, facts={})


def newest_line(path: Path) -> Newest:
    """Read the last whole line, and nothing before it; a log that is not there is empty.

    Raises:
        VerificationError: It can't be read.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            end = size - len(_tail(stream, size))  # behind the last newline: a torn line does not count
            line = _tail(stream, end - 1) if end else b""
    except FileNotFoundError:
        return Newest(head=_FIRST, facts={})
    except OSError as error:
        raise VerificationError(f"cannot read {path}: {error.strerror}", hint="check the disk") from error
    return Newest(head=digest_of(line) if end else _FIRST, facts=_facts(line))


def _facts(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # ``verify_log`` says so
        return {}
    return found if isinstance(found, dict) else {}


def verify_log(path: Path) -> Verified:
    """Follow the chain from the first line to the last.

    Raises:
        VerificationError: It breaks, or there is no such log; names the first line that is wrong.
    """
    head, number = _FIRST, 0
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                _check(path, number, line, head)
                head = digest_of(line[:-1])
    except OSError as error:
        raise VerificationError(f"cannot read {path}: {error.strerror}", hint="check the path") from error
    return Verified(lines=number, head=head)


def _check(path: Path, number: int, line: bytes, head: str) -> None:
    if not line.endswith(b"\n"):
        raise VerificationError(
            f"line {number} of {path} is torn", hint="a power cut can do that; the next entry takes it out"
        )
    try:
        previous = json.loads(line)["previous"]
    except (ValueError, KeyError, TypeError):
        raise VerificationError(f"line {number} of {path} is no entry of an audit log") from None
    if previous != head:
        raise VerificationError(
            f"line {number} of {path} does not follow the line before it",
            hint="a line was changed, dropped or moved there; compare with a copy",
        )


def _cut_torn(stream: BinaryIO) -> int:
    """Take out what follows the last newline; gives its bytes."""
    size = stream.seek(0, os.SEEK_END)
    torn = len(_tail(stream, size))
    if torn:
        os.ftruncate(stream.fileno(), size - torn)
    return torn


def _head(stream: BinaryIO) -> str:
    """The sha256 of the last line."""
    size = stream.seek(0, os.SEEK_END)
    return digest_of(_tail(stream, size - 1)) if size else _FIRST


def _tail(stream: BinaryIO, end: int) -> bytes:
    """What lies between the last newline before ``end`` and ``end``."""
    tail = b""
    while end > 0:
        start = max(0, end - _CHUNK_BYTES)
        stream.seek(start)
        chunk = _exactly(stream, end - start)
        newline = chunk.rfind(b"\n")
        if newline >= 0:
            return chunk[newline + 1 :] + tail
        tail, end = chunk + tail, start
    return tail


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = b""
    while len(content) < size and (part := stream.read(size - len(content))):
        content += part
    return content


def _fsync_folder(path: Path) -> None:
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
