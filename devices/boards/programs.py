"""The programs that virtual boards need, and where they are on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["installing", "lacking", "packages_of", "program", "run"]

# the packages of Debian that bring them
_PACKAGES = {
    "adb": "adb",
    "depmod": "kmod",
    "ip": "iproute2",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "modprobe": "kmod",
    "mount": "mount",
    "nsenter": "util-linux",
    "proot": "proot",
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-system-aarch64": "qemu-system-arm",
    "sshd": "openssh-server",
    "tar": "tar",
    "tc": "iproute2",
    "unshare": "util-linux",
}
# those of administrators are not on everybody's path
_MORE_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def program(name: str) -> str:
    """The path of a program.

    Raises:
        HostError: It is not here; the hint says how to get it.
    """
    found = _found(name)
    if found is None:
        package = _PACKAGES.get(name, name)
        raise HostError(f"there is no program {name} here, which virtual boards need", hint=installing([package]))
    return found


def lacking(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the programs that are not here."""
    return tuple(name for name in names if _found(name) is None)


def packages_of(names: Iterable[str]) -> tuple[str, ...]:
    """The packages of Debian that bring programs, each once."""
    return tuple(dict.fromkeys(_PACKAGES.get(name, name) for name in names))


def installing(packages: Sequence[str]) -> str:
    """What to do where packages are missing."""
    return f"run `make boards` in a checkout of tinsmith; on Debian, as root: apt install {' '.join(packages)}"


def run(
    arguments: Sequence[str], *, doing: str, time_limit_s: float, environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:  # fmt: skip
    """Run a program of this machine to its end; what it printed.

    Args:
        arguments: The program's name, and its arguments.
        doing: What for, such as ``building a system``.
        time_limit_s: From the start to its end.
        environment: What it gets besides what this process has.
        folder: Where it starts; here unless given.

    Raises:
        HostError: It is not here, failed, or did not end in time; with the last line that it said.
    """
    command = [program(arguments[0]), *arguments[1:]]
    try:
        ran = subprocess.run(
            command, capture_output=True, timeout=time_limit_s, check=False, cwd=folder, stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{doing}: {arguments[0]} did not end within {time_limit_s:g} s") from error
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise HostError(f"{doing}: {arguments[0]}: {said[-1] if said else f'exit code {ran.returncode}'}")
    return ran.stdout.decode(errors="replace")


def _found(name: str) -> str | None:
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE_FOLDERS])
    return shutil.which(name, path=folders)
