"""The agent of a device, asked over any transport."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from tinsmith.runtime.agent.requests import request_json
from tinsmith.runtime.errors import DataError, DeviceError, NoRoomError, OutputError, error_of
from tinsmith.runtime.fields import Fields, fields_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePosixPath

    from typing_extensions import Self

    from tinsmith.devices.transports.protocol import Ran, Running
    from tinsmith.runtime.agent.requests import Asked, Install, Request
    from tinsmith.runtime.errors import TinsmithError

__all__ = ["Agent", "Asking", "Readable"]

_SCHEMA = 1
# The board's own environment, or else the Python of this machine. Started to find out whether it is there: under proot
# a test of the file says no.
_SCRIPT = (
    '"$1/venv/bin/python" -m "$3" "$1"; code=$?; '
    '{ [ "$code" = 127 ] && [ -n "$2" ]; } || exit "$code"; exec "$2" -m "$3" "$1"'
)
_NOT_SET_UP = 127


class Readable(Protocol):
    """An answer that can be read from its document."""

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        ...


_A = TypeVar("_A", bound=Readable)


class Asking(Protocol):
    """Whoever answers for a device: its own agent, or this machine for a phone that can have none."""

    @property
    def between(self) -> str:
        """What takes time besides the device's own stages, for people."""
        ...

    @property
    def unpacks(self) -> bool:
        """Whether it can make a bundle of packed files and of patches."""
        ...

    @property
    def base(self) -> PurePosixPath:
        """The folder there that everything lies in."""
        ...

    def ask(self, request: Request, answer: type[_A], *, time_limit_s: float = 60.0) -> _A:
        """One request; raises as ``ask_all``."""
        ...

    def ask_all(self, requests: Sequence[Request], *, time_limit_s: float = 60.0) -> tuple[Fields, ...]:
        """Several requests in a row; see ``Agent.ask_all``."""
        ...

    def foresee(self, request: Install) -> None:
        """Refuse before anything is sent what is known here to be refused there; raises as the request does."""
        ...

    def if_lost(self, grace_s: float) -> str:
        """What becomes of an update on trial when nobody commits it, and what to do then."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What the host asks a device, and what it answers.

    Attributes:
        device: Its name, for messages.
        transport: How it is reached.
        base: The folder there that everything lies in.
        python: What runs the agent where the folder has no environment of its own; empty for none.
        module: What is run there; another one answers requests in the same way.
    """

    device: str
    transport: Running
    base: PurePosixPath
    python: str = ""
    module: str = "tinsmith.runtime.agent"
    between: ClassVar[str] = "Python and link"
    unpacks: ClassVar[bool] = True

    def foresee(self, request: Install) -> None:
        """The device itself decides."""

    def if_lost(self, grace_s: float) -> str:
        """It has a clock of its own."""
        return f"it goes back by itself within {grace_s:.0f} s; when it answers again, run the same command again"

    def ask(self, request: Asked, answer: type[_A], *, time_limit_s: float = 60.0) -> _A:
        """One request; raises as ``ask_all``."""
        (fields,) = self.ask_all((request,), time_limit_s=time_limit_s)
        try:
            return answer.read(fields)
        except DataError as error:
            raise DeviceError(
                f"{self.device}: asking its agent: {error.message}",
                hint=f"set it up anew: tinsmith devices setup -d {self.device}",
            ) from error

    def ask_all(self, requests: Sequence[Asked], *, time_limit_s: float = 60.0) -> tuple[Fields, ...]:
        """Several requests in a row, by one start of the agent.

        Args:
            requests: In their order; what follows one that fails is not done.
            time_limit_s: For all of them together.

        Returns:
            The documents of their answers, for ``read`` of their classes.

        Raises:
            DeviceError: It can't be reached, is not set up, or answers with something else.
            TinsmithError: Of the family and with the exit code that the agent gave; the message names the device and
                the stage.
        """
        lines = "".join(json.dumps(request_json(request)) + "\n" for request in requests)
        arguments = ["sh", "-c", _SCRIPT, "sh", str(self.base), self.python, self.module]
        ran = self.transport.run(arguments, stdin=lines.encode(), time_limit_s=time_limit_s)
        answers = tuple(self._read(ran, line) for line in ran.stdout.splitlines())
        if len(answers) != len(requests):
            raise self._silent(ran)
        return answers

    def _read(self, ran: Ran, line: bytes) -> Fields:
        try:
            fields = fields_of(line, of=f"the answer of {self.device}")
            fields.schema(_SCHEMA)
            said = fields.table("error") if "error" in json.loads(line) else None
        except DataError as error:
            raise self._silent(ran) from error
        if said is None:
            return fields
        raise self._revived(said)

    def _revived(self, said: Fields) -> TinsmithError:
        stage, message = said.text("stage"), said.text("message")
        text = f"{self.device}: {stage}: {message}"
        code, exit_code, hint = said.text("code"), said.count("exit_code"), said.word("hint")
        if code == OutputError.code:  # its advice is about files of the machine that it happened on
            return NoRoomError(text, hint=f"look at the device's disk: df -h {self.base}; is it full, or read-only?")
        return error_of(code, exit_code, text, hint=hint)

    def _silent(self, ran: Ran) -> DeviceError:
        words = ran.stderr.decode(errors="replace").strip().splitlines()
        if ran.code in (126, _NOT_SET_UP) or any("No module named" in word for word in words[-1:]):
            return DeviceError(
                f"{self.device}: asking its agent: it is not set up for tinsmith ({self.base})",
                hint=f"set it up once: tinsmith devices setup -d {self.device}",
            )
        if ran.code in (137, -9):
            return DeviceError(
                f"{self.device}: asking its agent: it was killed, as the system does when memory runs out",
                hint="what the device served is served on; free some memory there, and run the same command again",
            )
        said: Any = words[-1] if words else f"exit code {ran.code}"
        return DeviceError(
            f"{self.device}: asking its agent: no answer came: {said}",
            hint=f"set it up anew: tinsmith devices setup -d {self.device}",
        )
