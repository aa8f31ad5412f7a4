"""``python -m tinsmith.runtime.measuring BASE``: one JSON request a line on stdin, one JSON answer a line on stdout.

Several requests in a row cost one start of Python; the first that fails is the last that is answered.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from tinsmith.runtime.agent.stages import Stages
from tinsmith.runtime.errors import TinsmithError, UsageError
from tinsmith.runtime.measuring.requests import Answer, Count, Held, Measure, read_request
from tinsmith.runtime.measuring.shelf import Shelf

__all__ = ["main"]

_MOST_REQUEST_BYTES = 1 << 16
_DEFECT = 70


def main() -> int:
    """Answer the requests in their order, up to one that fails; the exit code is that of its error, or 0."""
    # what engines and libraries print must not get between the host and the answer
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with out:
        for line in sys.stdin.buffer.read(_MOST_REQUEST_BYTES).splitlines() or [b""]:
            code, document = _answered(line)
            out.write(json.dumps(document, allow_nan=False) + "\n")
            out.flush()
            if code:
                return code
    return 0


def _answered(line: bytes) -> tuple[int, dict[str, Any]]:
    stages = Stages("request")
    try:
        return 0, {"schema": 1, **_answer(line, stages)}
    except TinsmithError as error:
        return error.exit_code, _error(error.code, error.exit_code, error.message, error.hint, stages.now)
    except Exception as error:  # noqa: BLE001 - the host must get an answer whatever went wrong here
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        return _DEFECT, _error("defect", _DEFECT, said, "report it with what stderr says", stages.now)


def _answer(line: bytes, stages: Stages) -> dict[str, Any]:
    if len(sys.argv) != 2:
        raise UsageError("one argument is taken, the folder", hint="python -m tinsmith.runtime.measuring BASE")
    request, base = read_request(line), Path(sys.argv[1])
    match request:
        case Held():
            return Shelf(base).held(request).to_json()
        case Measure():
            from tinsmith.runtime.measuring.measure import measure

            return measure(base.absolute(), request, stages).to_json()
        case Count():
            from tinsmith.runtime.measuring.counting import count

            return count(base.absolute(), request, stages).to_json()
        case Answer():
            from tinsmith.runtime.measuring.answering import answer

            return answer(base.absolute(), request, stages).to_json()


def _error(code: str, exit_code: int, message: str, hint: str, stage: str) -> dict[str, Any]:
    said = {"code": code, "exit_code": exit_code, "message": message, "hint": hint, "stage": stage}
    return {"schema": 1, "error": said}


if __name__ == "__main__":
    sys.exit(main())
