"""The agent, asked in this very process, until it is told to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.agent.answering import answer
from tinsmith.runtime.errors import DeviceError
from tinsmith.runtime.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.agent.answers import Answer
    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.requests import Request
    from tinsmith.runtime.agent.trying import Try

__all__ = ["Agent"]


class Agent:
    """Answers requests by the rules of ``runtime/agent``.

    Args:
        board: Where.
        attempt: What tries a bundle before it may be served.
        ended: Whether the client was told to end. Then no further request is begun, and none that failed counts: the
            child process that tried a bundle may have been ended too.
    """

    def __init__(self, board: Board, *, attempt: Try, ended: Callable[[], bool]) -> None:
        self._board = board
        self._attempt = attempt
        self._ended = ended
        self._stages = Stages("start")

    @property
    def stage(self) -> str:
        """In which the last request failed."""
        return self._stages.now

    def begin(self, stage: str) -> None:
        """Count stages anew."""
        self._stages = Stages(stage)

    def ask(self, request: Request) -> Answer:
        """Do what is asked; raises as ``answer``, and ``DeviceError`` where the client was told to end."""
        self.heed_end()
        return answer(self._board, request, self._stages, attempt=self._attempt)

    def heed_end(self, error: Exception | None = None) -> None:
        """Raise ``DeviceError`` where the client was told to end, whatever else went wrong."""
        if self._ended():
            raise DeviceError(
                "the client was told to end", hint="nothing need be done: it goes on when it is started again"
            ) from error
