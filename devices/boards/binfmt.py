"""The kernel's table of foreign programs (binfmt_misc): those for arm64 are run by QEMU, in the roots of boards too."""

from __future__ import annotations

import platform
from pathlib import Path

from tinsmith.devices.boards.programs import program, run
from tinsmith.runtime.errors import HostError

__all__ = ["ARM_MACHINES", "know_arm"]

ARM_MACHINES = ("aarch64", "arm64")

_TABLE = Path("/proc/sys/fs/binfmt_misc")
_ENTRY = "tinsmith-aarch64"
# the ELF header of a program for EM_AARCH64 (elf(5)), whether it can be moved or not
_MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_TIME_LIMIT_S = 10.0


def know_arm() -> None:
    """Let the kernel know them, unless it does, or this machine is an Arm itself. It forgets them when it restarts.

    Raises:
        HostError: This needs root, or QEMU is missing.
    """
    if platform.machine() in ARM_MACHINES:
        return
    if not (_TABLE / "register").exists():
        run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_TABLE)], doing="mounting binfmt_misc",
            time_limit_s=_TIME_LIMIT_S)  # fmt: skip
    if not any(map(_is_of_arm, _TABLE.iterdir())):
        # F: the emulator is opened now, and needs to lie in no board's root
        line = b":%s:M::%s:%s:%s:F" % (_ENTRY.encode(), _MAGIC, _MASK, program("qemu-aarch64-static").encode())
        try:
            (_TABLE / "register").write_bytes(line)
        except OSError as error:
            raise HostError(f"the kernel takes no emulator for arm64: {error.strerror}") from error


def _is_of_arm(entry: Path) -> bool:
    if entry.name in ("register", "status"):
        return False
    lines = entry.read_text().splitlines()
    facts = {name.rstrip(":"): value for name, _, value in (line.partition(" ") for line in lines)}
    return "enabled" in lines and "F" in facts.get("flags", "") and facts.get("magic", "").endswith("0200b700")
