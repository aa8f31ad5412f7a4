"""The shell script that does a phone's side of an update: sent with each step, and its answers read."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from tinsmith.devices.transports.shell import failure
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.agent.clock import Moment
from tinsmith.runtime.audit import newest_of
from tinsmith.runtime.errors import DataError, DeviceError, VerificationError

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from tinsmith.devices.transports.protocol import Ran, Transport
    from tinsmith.runtime.audit import Newest
    from tinsmith.runtime.errors import TinsmithError

__all__ = ["Hashed", "PhoneScript", "Seen"]

_AGAIN = "flash again: it will be sent anew"
# as phone.sh has them
_BUSY, _CHANGED, _DIFFERS, _MISSING, _LACKING = 10, 11, 12, 13, 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What lies on a phone, as it was at one moment.

    Attributes:
        busy: Whether somebody was changing it; then it need not fit together.
        moment: What time it was there.
        link: What ``current`` leads to; ``none`` where it is not there.
        state_sha256: Of ``state.json``; ``none`` where it is not there.
        state: Its content.
        newest: The last whole line of the audit log.
        audit_bytes: Of the audit log.
        torn_bytes: Of them, those of a line that a cut has torn.
        free_bytes: Of the disk.
        has_runner: Whether the program that runs models is there.
    """

    busy: bool
    moment: Moment
    link: str
    state_sha256: str
    state: bytes
    newest: Newest
    audit_bytes: int
    torn_bytes: int
    free_bytes: int
    has_runner: bool

    @property
    def mark(self) -> str:
        """What a change must find there: the hash of the state, the size of the audit log, and the link."""
        return f"{self.state_sha256} {self.audit_bytes} {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """A file on a phone.

    Attributes:
        sha256: Of it; empty where it is not there.
        size_bytes: Of it.
    """

    sha256: str
    size_bytes: int


class PhoneScript:
    """``phone.sh``, run on one phone.

    Args:
        transport: How it is reached.
        base: The folder there that everything lies in.
    """

    def __init__(self, transport: Transport, base: PurePosixPath) -> None:
        self._transport = transport
        self._base = base

    def look(self, runner: PurePosixPath, *, time_limit_s: float) -> Seen:
        """See what is there; makes the folders where they are missing.

        Raises:
            DeviceError: It can't be reached or written, or lacks a program that every phone since Android 8 has.
        """
        step = Step(address=self._transport.address, doing="looking at what it serves")
        said = self.run("look", str(runner), doing=step.doing, time_limit_s=time_limit_s)
        try:
            return _seen(said)
        except (ValueError, KeyError, IndexError) as error:
            hint = f"look at what it holds: adb shell ls -la {self._base}"
            raise step.failed(f"it answers with something else: {said[:80]!r}", hint=hint) from error

    def hashes(self, paths: tuple[str, ...], *, time_limit_s: float) -> tuple[Hashed, ...]:
        """Hash files, named from the base folder."""
        said = self.run("hashes", *paths, doing="hashing what it holds", time_limit_s=time_limit_s)
        pairs = [line.split() for line in said.decode().splitlines()]
        return tuple(Hashed(sha256="" if sha == "-" else sha, size_bytes=int(size)) for sha, size in pairs)

    def run(self, verb: str, *arguments: str, doing: str, time_limit_s: float, stdin: bytes = b"") -> bytes:
        """Do one thing; gives what it prints.

        Raises:
            DeviceError: It can't be reached, was lost, is full, or is being updated by somebody else.
            DataError: A file that should be there is not.
            VerificationError: A file is not what it should be.
        """
        command = ["sh", "-c", _script(), "sh", str(self._base), verb, *arguments]
        ran = self._transport.run(command, stdin=stdin, time_limit_s=time_limit_s)
        if ran.code:
            raise self._refused(ran, doing)
        return ran.stdout

    def _refused(self, ran: Ran, doing: str) -> TinsmithError:
        words = ran.stderr.decode(errors="replace").strip().splitlines()
        said = words[-1] if words else f"exit code {ran.code}"
        if ran.code in (_BUSY, _CHANGED):
            return DeviceError(said, hint="wait until they are done, and look at its status")
        if ran.code == _DIFFERS:
            return VerificationError(said, hint=_AGAIN)
        if ran.code == _MISSING:
            return DataError(said, hint=_AGAIN)
        if ran.code == _LACKING:
            return DeviceError(said, hint="Android 8 and later have it; a board with Python is set up instead")
        return failure(ran, Step(address=self._transport.address, doing=doing), str(self._base))


def _script() -> str:
    return (files("tinsmith.devices.flashing") / "phone.sh").read_text(encoding="utf-8")


def _seen(said: bytes) -> Seen:
    lines = [line.partition(b" ")[::2] for line in said.splitlines()]
    facts = {key.decode(): value.decode() for key, value in lines if key not in (b"state", b"audit")}
    state = [value + b"\n" for key, value in lines if key == b"state"]
    audit = [value for key, value in lines if key == b"audit"]
    state_sha256, audit_said, link = facts["mark"].split(" ", 2)
    audit_bytes, torn_bytes = int(audit_said), int(facts["torn"])
    return Seen(
        busy=facts["busy"] == "yes",
        moment=Moment(wall_s=float(facts["wall"]), uptime_s=float(facts["uptime"]), boot_id=facts["boot"]),
        link=link,
        state_sha256=state_sha256,
        state=b"".join(state),
        newest=newest_of(audit[-1] if audit_bytes > torn_bytes else b""),
        audit_bytes=audit_bytes,
        torn_bytes=torn_bytes,
        free_bytes=int(facts["free"].split()[-3]) * 1024,
        has_runner="runner" in facts,
    )
