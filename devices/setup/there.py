"""A board that is being set up: the jobs that its own Python does for us, and what it said of itself."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tinsmith.devices.setup.tags import Interpreter
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.engine_tables import order
from tinsmith.runtime.errors import DataError, DeviceError
from tinsmith.runtime.fields import Fields, fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.devices.transports.protocol import Ran, Transport

__all__ = ["Board", "There", "find_python", "look"]

_LOOK_LIMIT_S = 120.0
_TOO_OLD = 126
# The first Python that is new enough does what stands in $1 and $2; what the others are is said where none is.
_FIND = """
for p in python3 python3.13 python3.12 python3.11 python3.10; do
  command -v "$p" >/dev/null || continue
  "$p" -c 'import sys; sys.exit(sys.version_info < (3, 10))' && { command -v "$p"; exit 0; }
  found=$p
done
[ -z "$found" ] && exit 127
"$found" --version
exit 126
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """What a board has.

    Attributes:
        base: The base folder, absolute.
        python: The interpreter that environments are made with.
        prefix: Where that is installed.
        interpreter: What it takes.
        packages: Versions of numpy and cryptography that the system brings.
        free_bytes: Of the disk that the base folder is on.
        wheels: Those that are unpacked, by hash.
        parts: Bytes that have come of others, by hash.
        settings: The text of ``server.json``; empty where there is none.
        keys: Names of the files in ``trusted/``.
        decryption_key: Whether there is one.
        systemd: Whether it runs, and keeps services of this user.
        user: Who logs in.
        home: That user's home.
        lingers: Whether systemd keeps this user's services when nobody is logged in.
    """

    base: str
    python: str
    prefix: str
    interpreter: Interpreter
    packages: Mapping[str, str]
    free_bytes: int
    wheels: frozenset[str]
    parts: Mapping[str, int]
    settings: str
    keys: tuple[str, ...]
    decryption_key: bool
    systemd: bool
    user: str
    home: str
    lingers: bool

    @classmethod
    def read(cls, fields: Fields) -> There:
        """From what the board has printed."""
        there = cls(
            base=fields.text("base"),
            python=fields.text("python"),
            prefix=fields.text("prefix"),
            interpreter=_interpreter(fields),
            packages=fields.table("packages").each(Fields.word),
            free_bytes=fields.count("free_bytes", least=0),
            wheels=frozenset(fields.names("wheels")),
            parts=fields.table("parts").each(lambda parts, key: parts.count(key, least=0)),
            settings=fields.word("settings"),
            keys=fields.names("keys"),
            decryption_key=fields.flag("decryption_key"),
            systemd=fields.flag("systemd"),
            user=fields.text("user"),
            home=fields.text("home"),
            lingers=fields.flag("lingers"),
        )
        fields.end()
        return there


class Board:
    """Has a board's Python do jobs.

    Args:
        transport: How it is reached.
        base: Its base folder, as it is seen from there.
        python: Its interpreter.

    Attributes:
        transport: As it was given.
        base: As it was given; absolute, once that is known.
    """

    def __init__(self, transport: Transport, base: str, python: str) -> None:
        self.base = base
        self.transport = transport
        self._python = python
        self._script = (files("tinsmith.devices.setup") / "on_board.py").read_bytes()

    def do(self, job: str, stage: str, *, time_limit_s: float, **asked: Any) -> Fields:
        """Do a job, and give what it said.

        Args:
            job: A function of ``on_board``.
            stage: What that means, for messages.
            time_limit_s: For all of it.
            **asked: Its arguments but the folder.

        Raises:
            DeviceError: It could not be done.
        """
        step = Step(address=self.transport.address, doing=f"setting up: {stage}")
        document = json.dumps({"job": job, "base": self.base, **asked})
        arguments = [self._python, "-I", "-", document]
        ran = self.transport.run(arguments, stdin=self._script, time_limit_s=time_limit_s)
        try:
            said = fields_of(ran.stdout, of="what it said")
        except DataError as error:
            raise _ended(ran, step) from error
        if "refused" in said:
            raise _refused(said, step, self.base)
        return said


def _interpreter(fields: Fields) -> Interpreter:
    major, minor, *_ = order(fields.text("version"))
    glibc = order(fields.word("glibc"))
    return Interpreter(
        version=(major, minor), machine=fields.text("machine"), glibc=(glibc[0], glibc[1]) if len(glibc) > 1 else None
    )


def look(board: Board) -> There:
    """Make the base folder, and ask the board what it has.

    Raises:
        DeviceError: It can't be asked, or its disk can't be written.
    """
    return There.read(board.do("look", "looking at it", time_limit_s=_LOOK_LIMIT_S))


def find_python(transport: Transport) -> str:
    """The path of a board's first Python that is new enough.

    Raises:
        DeviceError: It can't be reached, or has none.
    """
    step = Step(address=transport.address, doing="setting up: looking for Python")
    ran = transport.run(["sh", "-c", _FIND], time_limit_s=_LOOK_LIMIT_S)
    said = (ran.stdout or ran.stderr).decode(errors="replace").strip()
    if ran.code == 0 and said:
        return said
    hint = "on Debian and Ubuntu: sudo apt install python3"
    if transport.address.startswith("adb:"):
        hint = "a phone is flashed as it is, without a setup; on a board, install Python"
    if ran.code == _TOO_OLD:
        hint = "install a newer system, or a newer Python beside it as python3.11"
        raise step.failed(f"it has {said.splitlines()[-1]}, and tinsmith needs Python 3.10 or later", hint=hint)
    raise step.failed("it has no Python, and tinsmith needs Python 3.10 or later", hint=hint)


def _ended(ran: Ran, step: Step) -> DeviceError:
    """It was killed, or died of something that it could not catch."""
    lines = ran.stderr.decode(errors="replace").strip().splitlines()
    said = f": {lines[-1]}" if lines else ""
    hint = "`dmesg` on the device shows whether it ran out of memory"
    return step.failed(f"its Python ended with exit code {ran.code}{said}", hint=hint)


def _refused(said: Fields, step: Step, base: str) -> DeviceError:
    reason, number, path = said.text("refused"), said.count("number", least=0), said.word("path") or base
    if number == errno.EROFS:
        hint = "make it writable (on the device: sudo mount -o remount,rw /), or name another folder with --base"
        return step.failed(f"{path}: {reason}", hint=hint)
    if number:
        return step.refused(OSError(number, reason), path)
    return step.failed(reason, hint="what has come whole is not sent again")
