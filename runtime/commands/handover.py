"""How a command goes on as another program."""

from __future__ import annotations

import os
import sys
import tempfile

__all__ = ["Handover"]


class Handover(BaseException):
    """Raised by a command whose process becomes another program: same process number, same terminal, less memory.

    Args:
        arguments: For this Python.
        stdin: What the program reads on its standard input.
    """

    def __init__(self, *, arguments: tuple[str, ...], stdin: bytes = b"") -> None:
        super().__init__()
        self.arguments = arguments
        self.stdin = stdin

    def begin(self) -> int:
        """Become it; does not return."""
        with tempfile.TemporaryFile() as given:
            given.write(self.stdin)
            given.flush()
            given.seek(0)
            os.dup2(given.fileno(), 0)
        os.execv(sys.executable, [sys.executable, *self.arguments])  # noqa: S606 - our own interpreter
