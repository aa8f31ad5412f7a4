"""A process that carries out jobs, one after the other, for ``spreading``.

Its argument is the file descriptor that answers go to. Every message is a JSON document on a line: the subject and then
jobs come on stdin, ``{"ready": baseline}``, ``{"done": outcome}`` or ``{"error": ...}`` go back. It ends with stdin,
and takes with it whatever it started, so that nothing is left of a search that was killed.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.compress.search.descent import kill_descendants
from tinsmith.compress.search.subject import Subject
from tinsmith.compress.search.trying import Job, Outcome
from tinsmith.runtime.errors import OutputError, TinsmithError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from tinsmith.compress.search.subject import Workroom

    Opener = Callable[[Subject, Path], Workroom]

__all__ = ["main", "serve"]

logger = logging.getLogger(__name__)

# No fault of a recipe, and not to be kept as one.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def serve(open_room: Opener) -> None:
    """Open a workroom for the subject that comes first, then carry out what comes.

    Args:
        open_room: Opens it: the subject, and the folder that all workers share.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=[lines], daemon=True).start()
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answers:
        try:
            said = json.loads(lines.get())
            room = open_room(Subject.from_json(said["subject"]), Path(said["folder"]))
            _say(answers, {"ready": room.baseline.to_json()})
            while True:
                _say(answers, {"done": _outcome(room, Job.from_json(json.loads(lines.get()))).to_json()})
        except TinsmithError as error:
            _say(answers, {"error": type(error).__name__, "message": error.message, "hint": error.hint})


def _outcome(room: Workroom, job: Job) -> Outcome:
    """What comes of a job; a defect is one of this recipe only, and its traceback is in the log."""
    try:
        return room.carry_out(job).outcome
    except TinsmithError:
        raise
    except MemoryError:
        return Outcome(figures=None, failure="memory ran out")
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise OutputError.from_os_error(Path(error.filename or "what trials share"), error) from error
        # a framework may raise anything on a recipe that nobody has tried
        logger.exception("a job failed in a way that nobody has foreseen")
        return Outcome(figures=None, failure=f"a defect: {type(error).__name__}: {first_line(error)}")


def _read(lines: queue.SimpleQueue[str]) -> None:
    """Take in jobs until whoever sends them is gone."""
    for line in sys.stdin:
        lines.put(line)
    kill_descendants(os.getpid())
    os._exit(0)


def _say(answers: TextIO, document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def main() -> None:
    """Serve with the real workroom."""
    from tinsmith.compress.search.workroom import ModelRoom

    serve(ModelRoom)


if __name__ == "__main__":
    main()
