"""How many instructions a run executes, counted by the CPU's performance monitor; a number of its own, and no time."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["METHOD", "InstructionCounter", "count_runs"]

METHOD = "perf_event_open: PERF_COUNT_HW_INSTRUCTIONS, user mode, one thread"

# The number of the call (asm/unistd.h); other machines have another one.
_CALL = {"x86_64": 298, "aarch64": 241, "armv7l": 364, "armv8l": 364, "riscv64": 241}
# perf_event_open(2): struct perf_event_attr of version 5, 112 bytes: type, size, config, three more, flags.
_ATTRIBUTES = struct.Struct("=IIQQQQQ64x")
_HARDWARE, _INSTRUCTIONS = 0, 1
_NO_KERNEL, _NO_HYPERVISOR = 1 << 5, 1 << 6
_THIS_THREAD, _ANY_CORE, _NO_GROUP, _CLOSE_ON_EXEC = 0, -1, -1, 8
_BOARD = "a virtual board counts: tinsmith devices up NAME --kind icount --setup"


class InstructionCounter:
    """Counts the instructions that this thread executes in user mode, those of the kernel left out.

    Raises:
        HostError: This machine counts none: its CPU is emulated without a performance monitor, a virtual machine hides
            it, or the system lets nobody use it.
    """

    def __init__(self) -> None:
        call = _CALL.get(platform.machine())
        if call is None:
            raise _none(f"no such call is known of {platform.machine()}")
        flags = _NO_KERNEL | _NO_HYPERVISOR
        attributes = ctypes.create_string_buffer(
            _ATTRIBUTES.pack(_HARDWARE, _ATTRIBUTES.size, _INSTRUCTIONS, 0, 0, 0, flags), _ATTRIBUTES.size
        )
        library = ctypes.CDLL(None, use_errno=True)
        self._handle = library.syscall(call, attributes, _THIS_THREAD, _ANY_CORE, _NO_GROUP, _CLOSE_ON_EXEC)
        if self._handle < 0:
            raise _refused(ctypes.get_errno())

    def read(self) -> int:
        """So many since it was made."""
        return int.from_bytes(os.read(self._handle, 8), "little")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._handle)


def count_runs(run: Callable[[], object], *, runs: int, counter: InstructionCounter | None = None) -> list[int]:
    """Count the instructions of each run, after one that does not count.

    Args:
        run: One inference.
        runs: At least 1.
        counter: This machine's unless given.

    Raises:
        HostError: See ``InstructionCounter``.
    """
    with counter or InstructionCounter() as counting:
        run()
        return [_counted(run, counting) for _ in range(runs)]


def _counted(run: Callable[[], object], counter: InstructionCounter) -> int:
    before = counter.read()
    run()
    return counter.read() - before


def _refused(number: int) -> HostError:
    if number in (errno.EACCES, errno.EPERM):
        return _none(os.strerror(number), hint="let users count: sysctl kernel.perf_event_paranoid=2")
    return _none(os.strerror(number))


def _none(why: str, hint: str = _BOARD) -> HostError:
    return HostError(f"no instructions are counted here: perf_event_open: {why}", hint=hint)
