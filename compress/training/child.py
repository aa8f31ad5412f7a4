"""The process that trains: one task in, one answer out.

Its argument is the file descriptor that answers go to, one JSON document a line: ``{"began": ...}``,
``{"stepped": ...}``, ``{"epoch": ...}`` and ``{"ended": ...}`` while it works, then ``{"answer": ...}``, or
``{"error": class, "message": ..., "hint": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import OutputError, TinsmithError

if TYPE_CHECKING:
    from typing import TextIO

    from tinsmith.compress.training.watching import Beginning, EpochRecord, StepRecord

__all__ = ["main"]

_STEP_EVERY_S = 0.2


class Teller:
    """A watcher that tells the parent; steps at most five times a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told_s = 0.0

    def say(self, document: dict[str, Any]) -> None:
        """One line."""
        self._stream.write(json.dumps(document) + "\n")
        self._stream.flush()

    def began(self, beginning: Beginning) -> None:
        """See ``Watcher``."""
        self.say({"began": beginning.to_json()})

    def stepped(self, record: StepRecord) -> None:
        """See ``Watcher``."""
        now = time.monotonic()
        if now - self._told_s >= _STEP_EVERY_S:
            self._told_s = now
            self.say({"stepped": record.to_json()})

    def epoch_done(self, record: EpochRecord) -> None:
        """See ``Watcher``."""
        self.say({"epoch": record.to_json()})

    def ended(self, *, finished: bool) -> None:
        """See ``Watcher``."""
        self.say({"ended": {"finished": finished}})


def main() -> None:
    """Read the task from stdin, carry it out, and answer."""
    from tinsmith.compress.training.task import Task

    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as stream:
        teller = Teller(stream)
        task = Task.from_json(json.loads(sys.stdin.readline()))
        threading.Thread(target=_end_with_parent, daemon=True).start()
        try:
            outcome = _carry_out(task, teller)
        except TinsmithError as error:
            teller.say({"error": type(error).__name__, "message": error.message, "hint": error.hint})
        except OSError as error:
            said = OutputError.from_os_error(Path(task.output), error)
            teller.say({"error": "OutputError", "message": said.message, "hint": said.hint})
        else:
            teller.say({"answer": outcome})


def _carry_out(task: Any, teller: Teller) -> dict[str, Any]:
    from tinsmith.compress.training.workshop import carry_out

    return carry_out(task, teller).to_json()


def _end_with_parent() -> None:
    """A parent that was killed closes stdin; nobody waits for the answer then."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
