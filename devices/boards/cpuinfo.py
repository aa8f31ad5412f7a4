"""What ``/proc/cpuinfo`` says on an emulated board.

User-mode emulation shows the host's, and the ``cpuinfo`` library inside LiteRT and ONNX Runtime looks for an Arm core
there: where it finds none, it writes through a null pointer (seen with ai-edge-litert 2.2.0 and onnxruntime 1.32.0).
"""

from __future__ import annotations

__all__ = ["CPU", "cpuinfo"]

# Pinned: under QEMU's default, `max`, XNNPACK's SVE kernels give wrong int8 results (QEMU 7.2, LiteRT 2.1.6 and 2.3.0)
CPU = "cortex-a72"
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


def cpuinfo(cores: int) -> str:
    """The text of a board with so many Cortex-A72 cores, as Linux 6 for arm64 writes it."""
    return "".join(_CORE.format(number=number) for number in range(cores))
