"""The journal of a rollout: a file that says what was planned and what came of each device, whatever happens here.

Its first line is the plan, and the file appears with it whole; then comes one line for each device that has ended, each
on the disk before the next is written. A line that is not there is a device that is asked again, which costs no more
than the question: so nothing is written when a device begins.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.devices.flashing.host_log import host_log_path
from tinsmith.devices.fleet.outcome import Outcome
from tinsmith.devices.fleet.plan import Plan
from tinsmith.runtime.errors import BusyError, DataError, OutputError, UsageError
from tinsmith.runtime.fields import fields_of
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Journal", "Record", "begin_journal", "find_rollout", "list_rollouts", "open_journal", "rollouts_folder"]

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a journal says.

    Attributes:
        path: Of the file.
        at: When the rollout began, in ISO 8601.
        plan: What it is to do.
        outcomes: The last one of each device that has any.
    """

    path: Path
    at: str
    plan: Plan
    outcomes: Mapping[str, Outcome]

    @property
    def id(self) -> str:
        """The name of the rollout."""
        return self.path.stem

    @property
    def left(self) -> int:
        """How many devices don't serve the bundle yet."""
        return len(self.plan.devices) - sum(outcome.serves for outcome in self.outcomes.values())


class Journal:
    """A journal that this process alone goes on writing.

    Attributes:
        record: What it said when it was opened.
    """

    def __init__(self, record: Record, stream: BinaryIO) -> None:
        self.record = record
        self._stream = stream

    def append(self, outcome: Outcome) -> None:
        """Write what came of a device, and wait until the disk has it.

        Raises:
            OutputError: It can't be written; then it says what it said before.
        """
        whole_bytes = self._stream.seek(0, os.SEEK_END)
        rest = memoryview(_line({"event": "outcome", "at": _now(), **outcome.to_json()}))
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
            os.fsync(self._stream.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._stream.fileno(), whole_bytes)  # a full disk took half a line
            raise OutputError.from_os_error(self.record.path, error) from error


def rollouts_folder() -> Path:
    """Where the journals of this user lie: ``tinsmith/rollouts`` in the XDG folder for state."""
    return host_log_path().parent / "rollouts"


@contextlib.contextmanager
def begin_journal(plan: Plan, folder: Path) -> Iterator[Journal]:
    """Write down a plan before anything is done.

    Raises:
        OutputError: It can't be written.
    """
    path = folder / f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.jsonl"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    write_bytes(path, _line({"schema": _SCHEMA, "event": "begin", "at": _now(), **plan.to_json()}))
    with open_journal(path) as journal:
        yield journal


@contextlib.contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Go on with a rollout; a line that a cut tore is taken out.

    Raises:
        BusyError: Another process is at it.
        DataError: It is damaged.
        OutputError: It can't be written.
    """
    import fcntl

    try:
        stream = path.open("r+b", buffering=0)
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that dies
        except BlockingIOError:
            hint = "wait until it has ended: tinsmith rollouts shows how far it is"
            raise BusyError(f"the rollout {path.stem} is going on in another process", hint=hint) from None
        content = stream.readall()
        record = _record(path, content)
        os.ftruncate(stream.fileno(), content.rfind(b"\n") + 1)
        yield Journal(record, stream)


def list_rollouts(folder: Path) -> tuple[Record, ...]:
    """What all journals say, oldest first; one that grows meanwhile is read as far as it goes.

    Raises:
        DataError: One of them is damaged, or can't be read.
    """
    return tuple(_read(path) for path in sorted(folder.glob("*.jsonl")))


def find_rollout(name: str, folder: Path) -> Path:
    """The journal of a rollout; without a name, of the newest one that is not done everywhere.

    Raises:
        UsageError: There is none.
        DataError: One of them is damaged.
    """
    if name:
        named = {path.stem: path for path in folder.glob("*.jsonl")}
        if name not in named:
            raise UsageError(f"there is no rollout {name!r}", hint="`tinsmith rollouts` lists them")
        return named[name]
    for record in reversed(list_rollouts(folder)):
        if record.left:
            return record.path
    raise UsageError("there is no rollout to go on with", hint="`tinsmith rollouts` lists them and how they ended")


def _read(path: Path) -> Record:
    try:
        return _record(path, path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check the disk") from error


def _record(path: Path, content: bytes) -> Record:
    """What whole lines say; what follows the last newline was torn, and counts as not written."""
    *lines, _ = content.split(b"\n")
    try:
        return _of_lines(path, lines)
    except DataError as error:
        hint = "what was done is on the devices: move that file away, and flash them anew"
        raise DataError(error.message, hint=hint) from error


def _of_lines(path: Path, lines: list[bytes]) -> Record:
    if not lines:
        raise DataError(f"the journal {path} is damaged: it has no line")
    head = fields_of(lines[0], of=f"the journal {path}, line 1")
    head.schema(_SCHEMA)
    head.one_of("event", ("begin",))
    at, plan, outcomes = head.text("at"), Plan.read(head), {}
    for number, line in enumerate(lines[1:], start=2):
        fields = fields_of(line, of=f"the journal {path}, line {number}")
        fields.one_of("event", ("outcome",))
        outcome = Outcome.read(fields)
        outcomes[outcome.device] = outcome
    return Record(path=path, at=at, plan=plan, outcomes=outcomes)


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
