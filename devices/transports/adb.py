"""Phones and Android boards: the adb program, with time limits of our own, since it waits for ever by itself."""

from __future__ import annotations

import secrets
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.devices.transports import shell
from tinsmith.devices.transports.adb_program import AdbProgram
from tinsmith.devices.transports.protocol import Ran
from tinsmith.devices.transports.sources import opened, pieces
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.errors import DeviceError, LinkLostError
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import PurePosixPath

    from tinsmith.devices.transports.addresses import AdbAddress

__all__ = ["AdbTransport"]

# what a cut costs at most, and what must come within one time limit
_PIECE_BYTES = 1 << 21


class AdbTransport:
    """One device by the adb program.

    Args:
        address: Its serial number.
        program: The adb program; one that is not on the path, for a test.
    """

    def __init__(self, address: AdbAddress, program: str = "adb") -> None:
        self.address = str(address)
        self._adb = AdbProgram(address, program)
        self._is_ready = False

    def run(self, arguments: Sequence[str], *, stdin: bytes = b"", time_limit_s: float) -> Ran:
        """See ``Running``; 127 where there is no such program, as the shell says."""
        if any("\0" in argument for argument in arguments):
            raise ValueError("an argument holds NUL")
        step = self._step(f"running {arguments[0]}")
        self._get_ready(step)
        # adb gives 1 when the link is lost as well, so the shell tells the exit code itself
        mark = f"tinsmith-{secrets.token_hex(8)}"
        line = f"{shlex.join(arguments)}; echo {mark} $? >&2"
        said = self._adb.ask(["shell", "-T", line], step, stdin=stdin, time_limit_s=time_limit_s)
        stderr, found, code = said.stderr.rpartition(f"{mark} ".encode())
        if found:
            return Ran(code=int(code), stdout=said.stdout, stderr=stderr)
        if mark.encode() in said.stdout:
            hint = "Android 7 and later can; `adb features` lists what a device can"
            raise step.failed("it can't keep a program's output and errors apart", hint=hint)
        raise self._lost(said, step)

    def put(
        self,
        source: Path,
        destination: PurePosixPath,
        *,
        offset: int = 0,
        time_limit_s: float,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """See ``Putting``; in pieces, each pushed beside the destination, its size checked, and appended."""
        step = self._step(f"putting {destination.name}")
        self._get_ready(step)
        self._check_folder(str(destination.parent), step, time_limit_s)
        with opened(source, offset) as (stream, _), tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "piece"
            held_bytes = offset
            # an empty piece cuts off what is beyond the offset
            for piece in pieces(stream, _PIECE_BYTES) if stream.peek(1) else [b""]:
                part.write_bytes(piece)
                self._append(part, destination, held_bytes, step, time_limit_s)
                held_bytes += len(piece)
                if sent:
                    sent(len(piece))

    def get(self, source: PurePosixPath, destination: Path, *, time_limit_s: float) -> None:
        """See ``Getting``."""
        step = self._step(f"getting {source.name}")
        whole_bytes = shell.held_bytes(self.run(shell.sizing(source), time_limit_s=time_limit_s), step, str(source))
        with staged_file(destination) as staged:
            said = self._adb.pull(str(source), staged, step, time_limit_s=time_limit_s)
            if said.code or staged.stat().st_size != whole_bytes:
                raise self._lost(said, step)

    def close(self) -> None:
        """Nothing is held: each step is a program of its own."""

    def _check_folder(self, folder: str, step: Step, time_limit_s: float) -> None:
        """A real adbd makes the folders that a push names."""
        ran = self.run(["ls", "-d", f"{folder}/."], time_limit_s=time_limit_s)
        if ran.code:
            raise shell.failure(ran, step, folder)

    def _append(self, part: Path, destination: PurePosixPath, offset: int, step: Step, time_limit_s: float) -> None:
        beside = destination.with_name(destination.name + ".piece")
        folder = str(destination.parent)
        count = part.stat().st_size
        said = self._adb.ask(["push", str(part), str(beside)], step, time_limit_s=time_limit_s)
        if said.code:
            raise self._not_pushed(said, step, folder)
        pushed_bytes = shell.held_bytes(self.run(shell.sizing(beside), time_limit_s=time_limit_s), step, folder)
        if pushed_bytes != count:
            hint = "run the same command again: it goes on where it ended"
            reason = f"a push has brought {pushed_bytes:,} of {count:,} bytes"
            raise step.failed(reason, hint=hint, kind=LinkLostError)
        ran = self.run(shell.appending(destination, offset, beside), time_limit_s=time_limit_s)
        held_bytes = shell.held_bytes(ran, step, folder)
        if held_bytes != offset + count:
            hint = "run the same command again: it goes on where it ended"
            raise step.failed(f"it holds {held_bytes:,} of {offset + count:,} bytes", hint=hint)

    def _not_pushed(self, said: Ran, step: Step, folder: str) -> DeviceError:
        # adb writes what the device answered as it writes what happened to the link
        answered = b"remote" in said.stderr + said.stdout
        if not answered:
            return self._lost(said, step)
        return shell.failure(Ran(code=said.code, stdout=b"", stderr=said.stderr or said.stdout), step, folder)

    def _get_ready(self, step: Step) -> None:
        """Once, and again after the link was lost; it takes two runs of adb."""
        if not self._is_ready:
            self._adb.check_ready(step)
            self._is_ready = True

    def _lost(self, said: Ran, step: Step) -> DeviceError:
        self._is_ready = False
        words = (said.stderr or said.stdout).decode(errors="replace").strip().splitlines()
        reason = f"the link was lost: {words[-1]}" if words else "the link was lost"
        hint = "run the same command again: it goes on where it ended; `adb devices` lists what is connected"
        return step.failed(reason, hint=hint, kind=LinkLostError)

    def _step(self, doing: str) -> Step:
        return Step(address=self.address, doing=doing)
