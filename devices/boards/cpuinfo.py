"""What ``/proc/cpuinfo`` and ``/sys`` say of the CPU of an emulated board.

User-mode emulation shows the host's, and the ``cpuinfo`` library inside LiteRT and ONNX Runtime looks for an Arm core
there: where it finds none, it writes through a null pointer (seen with ai-edge-litert 2.2.0 and onnxruntime 1.32.0),
and without the lists in ``/sys`` LiteRT goes on without XNNPACK, whose int8 answers are others by a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CPU", "describe_cpu"]

# Pinned: under QEMU's default, `max`, XNNPACK's SVE kernels give wrong int8 results (QEMU 7.2, LiteRT 2.1.6 and 2.3.0)
CPU = "cortex-a72"
_CORES = 4
# Arm Cortex-A72 MPCore Technical Reference Manual, MIDR_EL1: implementer 0x41, part 0xd08, r0p3
_CORE = """\
processor\t: {number}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""


def describe_cpu(folder: Path) -> None:
    """Write what a board with four of those cores shows: ``cpuinfo``, as Linux 6 for arm64 writes it, and ``sys``."""
    (folder / "cpuinfo").write_text("".join(_CORE.format(number=number) for number in range(_CORES)))
    lists = folder / "sys/devices/system/cpu"
    lists.mkdir(parents=True, exist_ok=True)
    for name in ("online", "possible", "present"):
        (lists / name).write_text(f"0-{_CORES - 1}\n")
