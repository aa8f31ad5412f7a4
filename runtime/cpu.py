"""A CPU: its instruction set and what it can multiply, from a profile or read from the machine at hand."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ARCHITECTURES", "FEATURES", "Cpu", "parse_cpuinfo", "read_cpu"]

ARCHITECTURES = ("x86_64", "aarch64", "armv7l")

# Features that decide which kernels an engine takes, by the names that Linux gives them in /proc/cpuinfo.
FEATURES = {
    "x86_64": (
        "sse4_1",
        "sse4_2",
        "avx",
        "f16c",
        "fma",
        "avx2",
        "avx512f",
        "avx512bw",
        "avx512vl",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "avx_vnni",
        "avx_vnni_int8",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
    ),
    "aarch64": ("asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
    "armv7l": ("vfpv3", "neon", "vfpv4", "asimdhp", "asimddp"),
}

_VNNI = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8"})
_SAME = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l", "armv6l": "armv7l"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """What decides about integer arithmetic, and about speed.

    Attributes:
        arch: ``x86_64``, ``aarch64`` or ``armv7l`` (32-bit Arm); another machine's name as it says it.
        features: As in ``/proc/cpuinfo``; those of ``FEATURES``.
        model: For people: the cores, or the name that the CPU gives itself.
        max_mhz: Highest clock; None where nobody says.
    """

    arch: str
    features: frozenset[str]
    model: str = ""
    max_mhz: int | None = None

    @property
    def is_x86(self) -> bool:
        """Whether it is a 64-bit x86."""
        return self.arch == "x86_64"

    @property
    def is_arm(self) -> bool:
        """Whether it is an Arm, of 32 or 64 bits."""
        return self.arch in ("aarch64", "armv7l")

    @property
    def has_vnni(self) -> bool:
        """Whether it adds four products of bytes straight into 32 bits (AVX-512 VNNI, AVX-VNNI)."""
        return self.is_x86 and not self.features.isdisjoint(_VNNI)

    @property
    def saturates(self) -> bool:
        """Whether engines add two products of unsigned and signed bytes in 16 bits here.

        Before VNNI x86 has only ``vpmaddubsw`` for them (Intel's Software Developer's Manual, PMADDUBSW), which clips
        255 * 127 + 255 * 127 to 32,767.
        """
        return self.is_x86 and not self.has_vnni

    @property
    def said(self) -> str:
        """In a few words, what matters for integers."""
        if self.is_x86:
            widest = "AVX-512" if "avx512f" in self.features else "AVX2" if "avx2" in self.features else "SSE"
            return f"x86-64, {widest} {'with' if self.has_vnni else 'without'} VNNI"
        if self.is_arm:
            names = {"asimddp": "dot product", "i8mm": "i8mm", "sve": "SVE"}
            found = [said for feature, said in names.items() if feature in self.features]
            return f"{self.arch}, {', '.join(found) or 'no dot product'}"
        return self.arch


def read_cpu(cpuinfo: Path = Path("/proc/cpuinfo"), *, machine: str = "") -> Cpu | None:
    """Read the CPU of this machine.

    Args:
        cpuinfo: Linux's description of it.
        machine: Its architecture; this machine's unless given.

    Returns:
        The CPU; None where the system does not tell its features, as outside Linux.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return parse_cpuinfo(text, machine=machine or platform.machine())


def parse_cpuinfo(text: str, *, machine: str) -> Cpu | None:
    """The CPU that ``/proc/cpuinfo`` describes, what it says of the last core; None where it tells no features.

    Args:
        text: Its content.
        machine: As ``uname -m`` prints it.
    """
    arch = _SAME.get(machine.lower(), machine.lower())
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    said = fields.get("flags", fields.get("Features"))
    if said is None:
        return None
    known = FEATURES.get(arch, ())
    features = frozenset(word for word in said.split() if word in known)
    return Cpu(arch=arch, features=features, model=fields.get("model name", fields.get("Model", "")))
