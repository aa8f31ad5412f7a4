"""``python -m tinsmith.runtime.agent BASE``: answers requests as ``tinsmith.runtime.answering`` says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.agent.answering import answer
from tinsmith.runtime.agent.answers import answer_json
from tinsmith.runtime.agent.board import Board
from tinsmith.runtime.agent.requests import read_request
from tinsmith.runtime.answering import answer_lines

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.runtime.stages import Stages

__all__ = ["main"]

_PATIENCE_S = 5.0


def main() -> int:
    """Answer the requests on stdin; the exit code."""
    return answer_lines(_answer, program="tinsmith.runtime.agent")


def _answer(base: Path, request: bytes, stages: Stages) -> dict[str, Any]:
    return answer_json(answer(Board(base, patience_s=_PATIENCE_S), read_request(request), stages))


if __name__ == "__main__":
    sys.exit(main())
