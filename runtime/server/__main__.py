"""``python -m tinsmith.runtime.server SETTINGS``: what a board, a unit or ``tinsmith serve`` starts.

SETTINGS is a JSON file, or ``-`` for standard input. SIGTERM and SIGINT end it once the requests under way are
answered, SIGHUP swaps in what lies at the models' paths now. Exit codes are those of the command line.
"""

from __future__ import annotations

import logging
import os
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

_logger = logging.getLogger("tinsmith.runtime.server")
_STOP = (signal.SIGTERM, signal.SIGINT)
_RELOAD = (signal.SIGHUP,)
# Threads that wait for the interpreter get it sooner than after Python's usual 5 ms.
_SWITCH_S = 0.0005


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.WARNING)
    try:
        _serve(_settings(arguments))
    except TinsmithError as error:
        from tinsmith.runtime.commands.output import print_error

        print_error(error, as_json=False)
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
    # Blocked in every thread and waited for in this one: a handler could strike while a lock is held.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP, *_RELOAD})
    sys.setswitchinterval(_SWITCH_S)
    failures: list[TinsmithError] = []
    if settings.tokens_in_clear:
        _logger.warning(
            "tokens reach %s unencrypted: give --certificate and --key, or put a proxy with TLS before it",
            settings.host,
        )
    with Server(settings) as server:
        threading.Thread(target=_load, args=[server, failures], name="load", daemon=True).start()
        while signal.sigwait({*_STOP, *_RELOAD}) in _RELOAD:
            server.reload()
    if failures:
        raise failures[0]


def _load(server: Server, failures: list[TinsmithError]) -> None:
    """Load the models beside the thread that waits for signals, so that Ctrl-C need not wait for them."""
    try:
        server.load()
    except TinsmithError as error:
        failures.append(error)
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        sys.stderr.write(f"serving on {server.url}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
