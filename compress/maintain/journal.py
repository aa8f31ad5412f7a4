"""The journal of a maintenance plan: each step of each round with its figures, chained by hashes.

A line is on the disk before the next step begins. A step whose line is not there is done again, and every step can be:
what is made is made of the same to the same, and a device that serves the bundle is not flashed twice.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tinsmith.compress.maintain.results import (
    Bundled,
    Collected,
    Decision,
    Ended,
    Observed,
    Proven,
    Recompressed,
    Rolled,
)
from tinsmith.compress.maintain.rounds import Round
from tinsmith.runtime.audit import AuditLog, verify_log
from tinsmith.runtime.errors import DataError, OutputError
from tinsmith.runtime.locking import alone_in

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tinsmith.compress.maintain.rounds import Result, StepName
    from tinsmith.runtime.errors import TinsmithError

__all__ = ["Journal", "open_journal", "read_rounds"]

_EVENTS = ("begin", "step", "failure", "end")
_NAME = "journal.jsonl"
_HINT = "what devices serve is not touched by it: move the file away, and begin anew"
_RESULTS: dict[str, type[Result]] = {
    "observe": Observed,
    "decide": Decision,
    "collect": Collected,
    "recompress": Recompressed,
    "prove": Proven,
    "bundle": Bundled,
    "canary": Rolled,
    "waves": Rolled,
    "rollback": Rolled,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line, as far as rounds are made of it."""

    event: str
    round: int
    step: str
    digest: str
    figures: Any


class Journal:
    """A journal that this process alone goes on writing.

    Args:
        path: Of the file.
        rounds: What it says so far.
        now: The clock; that of this machine unless given.

    Attributes:
        rounds: All rounds, the newest last.
    """

    def __init__(
        self, path: Path, rounds: tuple[Round, ...], *, now: Callable[[], datetime.datetime] | None = None
    ) -> None:
        self.rounds = rounds
        self._log = AuditLog(path, events=_EVENTS, now=now)

    @property
    def current(self) -> Round | None:
        """The round that has not ended; None where there is none."""
        return self.rounds[-1] if self.rounds and self.rounds[-1].ended is None else None

    def begin(self, digest: str) -> Round:
        """Begin a round; raises ``OutputError`` where it can't be written, as all that follow do."""
        begun = Round(number=len(self.rounds) + 1, digest=digest)
        self._log.append("begin", round=begun.number, digest=digest)
        self.rounds = (*self.rounds, begun)
        return begun

    def done(self, step: StepName, result: Result, said: str) -> Round:
        """A step of the current round is done."""
        now = self.rounds[-1]
        self._log.append("step", round=now.number, step=step, said=said, figures=asdict(result))
        return self._put(replace(now, **{step: result}))  # type: ignore[arg-type]

    def failed(self, step: StepName, error: TinsmithError) -> None:
        """A step was not done, and is tried again by whoever goes on."""
        number = self.rounds[-1].number
        self._log.append("failure", round=number, step=step, said=error.message, figures=error.to_json())

    def end(self, ended: Ended) -> Round:
        """The current round is over."""
        now = self.rounds[-1]
        self._log.append("end", round=now.number, said=ended.said, figures=asdict(ended))
        return self._put(replace(now, ended=ended))

    def _put(self, now: Round) -> Round:
        self.rounds = (*self.rounds[:-1], now)
        return now


@contextlib.contextmanager
def open_journal(folder: Path, *, now: Callable[[], datetime.datetime] | None = None) -> Iterator[Journal]:
    """Go on with the journal in a folder, which is made where it is missing; a line that a cut tore is taken out.

    Raises:
        BusyError: Another process is at it.
        VerificationError: Its chain is broken.
        DataError: It is damaged.
        OutputError: It can't be written.
    """
    path = folder / _NAME
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    with alone_in(folder, busy=f"{folder} is being maintained by another process"):
        _cut_torn(path)
        yield Journal(path, read_rounds(folder), now=now)


def read_rounds(folder: Path) -> tuple[Round, ...]:
    """What the journal in a folder says, as far as its lines are whole; nothing where there is none.

    Raises:
        VerificationError: Its chain is broken.
        DataError: It is damaged, or was written by a newer tinsmith.
    """
    path = folder / _NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check the disk") from error
    if content.endswith(b"\n"):
        verify_log(path)
    rounds: list[Round] = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        _take(rounds, _entry(line, path, number))
    return tuple(rounds)


def _cut_torn(path: Path) -> None:
    try:
        content = path.read_bytes() if path.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error


def _entry(line: bytes, path: Path, number: int) -> Entry:
    try:
        said = json.loads(line)
        return Entry(
            event=said["event"],
            round=said["round"],
            step=said.get("step", ""),
            digest=said.get("digest", ""),
            figures=said.get("figures"),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"line {number} of {path} is no entry of a maintenance journal", hint=_HINT) from None


def _take(rounds: list[Round], entry: Entry) -> None:
    if entry.event == "begin":
        rounds.append(Round(number=entry.round, digest=entry.digest))
    elif not rounds or rounds[-1].number != entry.round:
        raise DataError(f"the journal tells of round {entry.round} before it has begun", hint=_HINT)
    elif entry.event == "end":
        rounds[-1] = replace(rounds[-1], ended=_read("end", entry.figures))
    elif entry.event == "step" and entry.step in _RESULTS:
        result = _read(entry.step, entry.figures)
        rounds[-1] = replace(rounds[-1], **{entry.step: result})
    elif entry.event != "failure":
        raise DataError(f"the journal tells of a step {entry.step!r}, which is not known", hint="update tinsmith")


@functools.cache
def _adapter(step: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_RESULTS.get(step, Ended))


def _read(step: str, figures: Any) -> Any:
    from pydantic import ValidationError

    try:
        return _adapter(step).validate_python(figures)
    except ValidationError as error:
        raise DataError(f"the journal is damaged: {error.errors()[0]['msg']}", hint=_HINT) from None
