"""Files by nothing but a POSIX shell, for devices that offer no more: sh, wc, dd and cat.

Each script is run as ``sh -c SCRIPT sh FILE …``, so that no name is ever read as code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from tinsmith.devices.transports.protocol import Ran
    from tinsmith.devices.transports.steps import Step
    from tinsmith.runtime.errors import DeviceError

__all__ = ["appending", "failure", "held_bytes", "reading", "sizing"]

_ENGLISH = "LC_ALL=C; export LC_ALL; "
# dd cuts a file off at the place that it seeks to, and looks at nothing before it; not every toybox has it
_CUT = (
    'if [ "$2" = 0 ]; then : > "$1" || exit 1; else '
    'held=$(wc -c < "$1") || exit 1; '
    '[ "$held" -ge "$2" ] || { echo "it holds $held bytes, not the $2 to go on from" >&2; exit 1; }; '
    'truncate -s "$2" "$1" 2>/dev/null || dd if=/dev/null of="$1" bs=1 seek="$2" count=0 2>/dev/null || exit 1; fi; '
)
_APPEND = _ENGLISH + _CUT + 'cat >> "$1" || exit 1; wc -c < "$1"'
_APPEND_PIECE = _ENGLISH + _CUT + 'cat < "$3" >> "$1" || exit 1; rm -f -- "$3"; wc -c < "$1"'


def appending(file: PurePosixPath, offset: int, piece: PurePosixPath | None = None) -> list[str]:
    """Arguments that write a piece, or standard input, behind the first ``offset`` bytes, and print the size then."""
    if piece is None:
        return ["sh", "-c", _APPEND, "sh", str(file), str(offset)]
    return ["sh", "-c", _APPEND_PIECE, "sh", str(file), str(offset), str(piece)]


def sizing(file: PurePosixPath) -> list[str]:
    """Arguments that print the bytes of a file."""
    return ["sh", "-c", _ENGLISH + 'wc -c < "$1"', "sh", str(file)]


def reading(file: PurePosixPath) -> list[str]:
    """Arguments that print a file."""
    return ["sh", "-c", _ENGLISH + 'cat < "$1"', "sh", str(file)]


def held_bytes(ran: Ran, step: Step, folder: str) -> int:
    """The size that ``appending`` or ``sizing`` have printed.

    Raises:
        DeviceError: They failed.
    """
    if ran.code or not ran.stdout.strip().isdigit():
        raise failure(ran, step, folder)
    return int(ran.stdout)


def failure(ran: Ran, step: Step, folder: str) -> DeviceError:
    """The error for what a script said that failed."""
    said = ran.stderr.decode(errors="replace").strip() or f"it ended with exit code {ran.code}"
    if "No space left" in said or "Disk quota" in said:
        return step.full(folder)
    hint = f"`ls -ld {folder}` on the device shows whether it is there and who may write to it"
    return step.failed(said.splitlines()[-1], hint=hint)
