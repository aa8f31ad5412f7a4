"""The programs of a board without root: proot shows them the board's folder as ``/``, and QEMU runs what is for Arm."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from tinsmith.devices.boards.cpuinfo import CPU
from tinsmith.devices.boards.trees import SHARED

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from typing import Any

    from tinsmith.devices.boards.trees import Tree

__all__ = ["Shell"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "PATH": _PATH,
}
# proot stays as long as any program that was left running, so the shell tells of the end, and says nothing of its own
_TELL_END = 'exec {said}>&2 2>/dev/null; bash -c "$1" 2>&$said {said}>&- TELL>&-; echo $? >&TELL'
_SILENCE_S = 0.2
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Starts programs on a board.

    Attributes:
        tree: Its files.
        shown: What of this machine it shows, and where, beside its own files.
        proot: The path of the program.
        emulator: The path of the program.
    """

    tree: Tree
    shown: Mapping[Path, str]
    proot: str
    emulator: str

    async def serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run what a client asks for, and tell it of the end; when it leaves before, the program is left running."""
        told, tell = os.pipe()
        pipe = asyncio.subprocess.PIPE
        started = await asyncio.create_subprocess_exec(
            *self._command(process.command or "exec bash -l", tell),
            stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[tell], env=_ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        os.close(tell)
        await _first_of(_served(process, started, told), process.wait_closed())
        # those that it left running are waited for as well
        await started.wait()

    def _command(self, line: str, tell: int) -> list[str]:
        seen = {Path("/dev"): "/dev", Path("/proc"): "/proc", **self.shown}
        seen |= {self.tree.system / name: f"/{name}" for name in SHARED}
        binds = [word for here, there in seen.items() for word in ("-b", f"{here}:{there}")]
        script = _TELL_END.replace("TELL", str(tell))
        return [
            self.proot, "-0", "-q", f"{self.emulator} -cpu {CPU}", "-r", str(self.tree.own), *binds, "-w", "/root",
            "/bin/bash", "-c", script, "bash", line,
        ]  # fmt: skip


async def _served(
    process: asyncssh.SSHServerProcess[bytes], started: asyncio.subprocess.Process, told: int
) -> None:  # fmt: skip
    assert started.stdin
    assert started.stdout
    assert started.stderr
    into = asyncio.ensure_future(_feed(process.stdin, started.stdin))
    out = [
        asyncio.ensure_future(_pump(source, target))
        for source, target in ((started.stdout, process.stdout), (started.stderr, process.stderr))
    ]
    try:
        said = await _line_of(told)
        if not said:
            code = await started.wait()
            said = str(code if code >= 0 else 128 - code)
        # what was left running may hold them open for as long as it likes
        await asyncio.wait({asyncio.ensure_future(started.wait())}, timeout=_SILENCE_S)
        await asyncio.wait(out, timeout=None if started.returncode is not None else _SILENCE_S)
        process.exit(int(said))
    finally:
        for task in (into, *out):
            task.cancel()


async def _line_of(pipe: int) -> str:
    """The line that is written into a pipe; empty where everybody closes it before."""
    reader = asyncio.StreamReader()
    with os.fdopen(pipe, "rb") as stream:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), stream
        )
        try:
            return (await reader.readline()).decode().strip()
        finally:
            transport.close()


async def _feed(source: asyncssh.SSHReader[bytes], target: asyncio.StreamWriter) -> None:
    """Bring it what the client writes, up to its end."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while piece := await source.read(_BLOCK_BYTES):
            target.write(piece)
            await target.drain()
    target.close()


async def _pump(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while piece := await source.read(_BLOCK_BYTES):
            target.write(piece)
            await target.drain()


async def _first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    tasks = {asyncio.ensure_future(coroutine) for coroutine in coroutines}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
