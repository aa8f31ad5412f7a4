"""``python -m tinsmith.runtime.agent.ddi BASE``: poll a hawkBit server for the board in this folder, until SIGTERM.

Exit codes are those of the command line: 0 after SIGTERM or SIGINT, 2 for settings that are wrong, 5 where another
client runs for the same board, 6 for a damaged journal.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.board import Board
from tinsmith.runtime.agent.ddi.client import Client
from tinsmith.runtime.agent.ddi.server import HawkbitServer
from tinsmith.runtime.agent.ddi.settings import read_settings
from tinsmith.runtime.errors import DeviceError, TinsmithError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["main"]

_LOCK = "hawkbit.lock"
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})


def main(arguments: Sequence[str]) -> int:
    """Poll until told to stop; returns the exit code."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.INFO)
    try:
        _run(_base(arguments))
    except TinsmithError as error:
        from tinsmith.runtime.commands.output import print_error

        print_error(error, as_json=False)
        return error.exit_code
    return 0


def _base(arguments: Sequence[str]) -> Path:
    if len(arguments) != 1:
        raise UsageError(
            "the client takes one argument, the folder of the board", hint="python -m tinsmith.runtime.agent.ddi BASE"
        )
    return Path(arguments[0]).absolute()


def _run(base: Path) -> None:
    settings = read_settings(base)
    if settings.token is not None:
        settings.token.header()  # found out now, and not at the first poll
    board = Board(base)
    with _alone(board):
        client = Client(board, HawkbitServer(settings), settings)
        # blocked here and waited for in a thread: a handler could strike while a lock is held
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        threading.Thread(target=_end_when_told, args=[client], name="stop", daemon=True).start()
        client.run()


def _end_when_told(client: Client) -> None:
    signal.sigwait(_STOP)
    client.end()


@contextlib.contextmanager
def _alone(board: Board) -> Iterator[None]:
    handle = board.files.open_lock(board.base / _LOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DeviceError(
            f"another hawkBit client runs for {board.base}", hint="systemctl status tinsmith-hawkbit"
        ) from None
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
