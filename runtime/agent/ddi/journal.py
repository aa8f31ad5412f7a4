"""``BASE/hawkbit-action.json``: how far the action is, what the server has yet to be told, and how the last ones ended.

It is written whole, before what it speaks of is done or told. So a client that was cut off anywhere goes on with the
same action, says what was not said, and does nothing twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.ddi.feedback import Feedback
from tinsmith.runtime.errors import DataError, OutputError, VerificationError, first_line
from tinsmith.runtime.fields import fields_of

if TYPE_CHECKING:
    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.fields import Fields

__all__ = ["ACCEPTED", "ACTIVATING", "ON_TRIAL", "RECEIVED", "Action", "Journal", "JournalFile"]

ACCEPTED, RECEIVED, ACTIVATING, ON_TRIAL = STAGES = ("accepted", "received", "activating", "on-trial")
_NAME = "hawkbit-action.json"
_SCHEMA = 1
_MOST_OWED = 40
_MOST_ENDED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """The action that is under way.

    Attributes:
        id: Of the server.
        link: Of its resource, without a query.
        sha256: Of the bundle.
        stage: The last of ``STAGES`` that was begun (``activating``) or is done (the others).
        since: Serial of the last line that the audit log had, or owed, before it was activated.
    """

    id: str
    link: str
    sha256: str
    stage: str = ACCEPTED
    since: int = 0

    def says(self, execution: str, *details: str, finished: str = "none", code: int | None = None) -> Feedback:
        """A message about it."""
        return Feedback(
            link=self.link,
            action=self.id,
            execution=execution,
            finished=finished,
            details=details,
            code=code,
            bundle=self.sha256,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """All that outlives the client.

    Attributes:
        action: None where none is under way.
        owed: What the server has yet to be told, oldest first.
        ended: How the last actions were closed, newest last, of those whose closure the server has not taken.
        denied: The last action whose confirmation was denied, and why; empty where none was.
        reported: Sha256 of the bundle that the server knows to be installed; empty where it knows of none.
    """

    action: Action | None = None
    owed: tuple[Feedback, ...] = ()
    ended: tuple[Feedback, ...] = ()
    denied: str = ""
    reported: str = ""

    def end_of(self, action: str) -> Feedback | None:
        """How an action was closed; None where it was not, or where the server knows."""
        return next((feedback for feedback in reversed(self.ended) if feedback.action == action), None)

    def owing(self, *feedback: Feedback) -> Journal:
        """With more to tell; nothing twice, and where it is too much, what closes nothing goes first."""
        owed = list(dict.fromkeys((*self.owed, *feedback)))
        while len(owed) > _MOST_OWED:
            owed.remove(next((one for one in owed if not one.closes), owed[0]))
        return replace(self, owed=tuple(owed))

    def taken(self, said: Feedback) -> Journal:
        """Without what the server has heard."""
        return replace(
            self,
            owed=tuple(one for one in self.owed if one != said),
            ended=tuple(one for one in self.ended if one != said),
        )

    def dropped(self, said: Feedback) -> Journal:
        """Without what the server does not want to hear; how an action ended may be asked for again."""
        return replace(self, owed=tuple(one for one in self.owed if one != said))

    def closed(self, end: Feedback) -> Journal:
        """Without the action that is over."""
        return replace(self, action=None, ended=(*self.ended, end)[-_MOST_ENDED:]).owing(end)


class JournalFile:
    """The journal on the disk.

    Attributes:
        journal: As it stands there.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._path = board.base / _NAME
        self.journal = self._read()

    def write(self, journal: Journal) -> None:
        """Write what is known from now on, where it differs; raises ``OutputError``."""
        if journal != self.journal:
            content = json.dumps({"schema": _SCHEMA, **asdict(journal)}, indent=1) + "\n"
            self._board.files.write(self._path, [content.encode()])
            self.journal = journal

    def _read(self) -> Journal:
        try:
            return _journal(fields_of(self._path.read_bytes(), of=str(self._path)))
        except FileNotFoundError:
            return Journal()
        except DataError as error:
            raise VerificationError(
                f"cannot read {self._path}: {first_line(error)}",
                hint="move it away: the server says what is to be done",
            ) from error
        except OSError as error:
            raise OutputError(f"cannot read {self._path}: {error.strerror}", hint="check who owns it") from error


def _journal(fields: Fields) -> Journal:
    fields.schema(_SCHEMA)
    journal = Journal(
        action=None if (action := fields.maybe("action")) is None else _action(action),
        owed=tuple(Feedback.read(feedback) for feedback in fields.many("owed")),
        ended=tuple(Feedback.read(feedback) for feedback in fields.many("ended")),
        denied=fields.word("denied"),
        reported=fields.word("reported"),
    )
    fields.end()
    return journal


def _action(fields: Fields) -> Action:
    action = Action(
        id=fields.text("id"),
        link=fields.text("link"),
        sha256=fields.sha256("sha256"),
        stage=fields.one_of("stage", STAGES),
        since=fields.count("since", least=0),
    )
    fields.end()
    return action
