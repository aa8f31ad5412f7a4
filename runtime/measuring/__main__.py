"""``python -m tinsmith.runtime.measuring BASE``: answers requests as ``tinsmith.runtime.answering`` says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.answering import answer_lines
from tinsmith.runtime.measuring.requests import Answer, Count, Held, Measure, read_request
from tinsmith.runtime.measuring.shelf import Shelf

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.runtime.stages import Stages

__all__ = ["main"]


def main() -> int:
    """Answer the requests on stdin; the exit code."""
    return answer_lines(
        lambda *asked: {"schema": 1, **_answer(*asked)},
        program="tinsmith.runtime.measuring",
    )


def _answer(base: Path, line: bytes, stages: Stages) -> dict[str, Any]:
    request = read_request(line)
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


if __name__ == "__main__":
    sys.exit(main())
