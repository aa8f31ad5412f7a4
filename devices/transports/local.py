"""This machine as a device: programs and files of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from tinsmith.devices.transports.protocol import Ran
from tinsmith.devices.transports.sources import opened, pieces
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.errors import DeviceTimeoutError
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LocalTransport"]

_PIECE_BYTES = 1 << 20


class LocalTransport:
    """Programs and files of this machine.

    Args:
        folder: Where programs start, and where relative paths do.
    """

    def __init__(self, folder: Path = Path("/")) -> None:
        self.address = "local" if folder == Path("/") else f"local:{folder}"
        self._folder = folder

    def run(self, arguments: Sequence[str], *, stdin: bytes = b"", time_limit_s: float) -> Ran:
        """See ``Running``; a program that is not there gives 127, and one that may not be run 126, as in a shell."""
        step = Step(address=self.address, doing=f"running {arguments[0]}")
        try:
            started = subprocess.Popen(
                list(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        except (FileNotFoundError, PermissionError) as error:
            return self._not_started(arguments[0], error, step)
        except OSError as error:
            raise step.refused(error, str(self._folder)) from error
        with started:
            return _to_its_end(started, stdin, time_limit_s, step)

    def put(
        self,
        source: Path,
        destination: PurePosixPath,
        *,
        offset: int = 0,
        time_limit_s: float,  # noqa: ARG002 - a disk of this machine always makes progress
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """See ``Putting``."""
        step = Step(address=self.address, doing=f"putting {destination.name}")
        place = self._folder / destination
        with opened(source, offset) as (stream, _):
            try:
                with place.open("r+b" if offset else "wb") as target:
                    _check_held(target, offset, step)
                    target.truncate(offset)
                    for piece in pieces(stream, _PIECE_BYTES):
                        target.write(piece)
                        target.flush()
                        if sent:
                            sent(len(piece))
            except OSError as error:
                raise step.refused(error, str(place.parent)) from error

    def get(self, source: PurePosixPath, destination: Path, *, time_limit_s: float) -> None:  # noqa: ARG002 - as put
        """See ``Getting``."""
        step = Step(address=self.address, doing=f"getting {source.name}")
        place = self._folder / source
        try:
            stream = place.open("rb")
        except OSError as error:
            raise step.refused(error, str(place)) from error
        with stream, staged_file(destination) as staged, staged.open("wb") as target:
            for piece in pieces(stream, _PIECE_BYTES):
                target.write(piece)

    def close(self) -> None:
        """Nothing is held."""

    def _not_started(self, program: str, error: OSError, step: Step) -> Ran:
        if not self._folder.is_dir():
            raise step.failed(
                f"there is no folder {self._folder}", hint=f"make it with: mkdir -p {self._folder}"
            ) from error
        code = 127 if isinstance(error, FileNotFoundError) else 126
        return Ran(code=code, stdout=b"", stderr=f"{program}: {error.strerror}\n".encode())


def _check_held(target: BinaryIO, offset: int, step: Step) -> None:
    held_bytes = target.seek(0, os.SEEK_END)
    if held_bytes < offset:
        hint = "ask again how much it holds, and go on from there"
        raise step.failed(f"it holds {held_bytes:,} bytes, not the {offset:,} to go on from", hint=hint)
    target.seek(offset)


def _to_its_end(started: subprocess.Popen[bytes], stdin: bytes, time_limit_s: float, step: Step) -> Ran:
    try:
        stdout, stderr = started.communicate(stdin, timeout=time_limit_s)
    except BaseException as error:
        # its children as well: any of them would keep the pipes open
        os.killpg(started.pid, signal.SIGKILL)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        hint = "give it longer, or see with `ps` what it waits for"
        raise step.failed(f"it did not end within {time_limit_s:g} s", hint=hint, kind=DeviceTimeoutError) from error
    code = started.returncode
    return Ran(code=code if code >= 0 else 128 - code, stdout=stdout, stderr=stderr)
