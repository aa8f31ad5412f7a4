"""``python -m tinsmith.runtime.server SETTINGS``: what a board, a unit or ``tinsmith serve`` starts.

SETTINGS is a JSON file, or ``-`` for standard input. SIGTERM and SIGINT end it once the requests under way are
answered, SIGHUP swaps in what lies at the models' paths now. Exit codes are those of the command line.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import TinsmithError, UsageError
from tinsmith.runtime.server.server import Server
from tinsmith.runtime.server.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.runtime.server.settings import ServerSettings

__all__ = ["main"]

# Threads that wait for the interpreter get it sooner than after Python's usual 5 ms.
_SWITCH_S = 0.0005


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.WARNING)
    try:
        _serve(_settings(arguments))
    except TinsmithError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint:  {error.hint}\n")
        return error.exit_code
    return 0


def _settings(arguments: Sequence[str]) -> ServerSettings:
    if len(arguments) != 1:
        raise UsageError(
            "the server takes one argument: a file of settings, or - for standard input",
            hint="`tinsmith serve MODEL --print settings` writes one",
        )
    (name,) = arguments
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the settings {name}: {error}") from error
    return read_settings(text, of=f"the settings {name}" if name != "-" else "the settings")


def _serve(settings: ServerSettings) -> None:
    told, again = threading.Event(), threading.Event()

    def stop(*_: object) -> None:
        told.set()
        again.set()

    # a handler runs between two instructions of this thread, and must not wait for a lock that it may hold
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.setswitchinterval(_SWITCH_S)
    with Server(settings) as server:
        signal.signal(signal.SIGHUP, lambda *_: again.set())
        server.load()
        sys.stderr.write(f"serving on {server.url}\n")
        sys.stderr.flush()
        while not told.is_set():
            again.wait()
            again.clear()
            if not told.is_set():
                server.reload()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
