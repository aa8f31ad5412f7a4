"""The systems that boards start from: arm64 Debian, made once by mmdebstrap from the mirror that apt uses, and kept.

Packages are unpacked and not configured, so that nothing of them runs on this machine; what their scripts would have
made and a board needs is written here. As on a board from the shop, Python is there, and nothing of ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.devices.boards.mirror import debian_mirror
from tinsmith.devices.boards.places import cache_folder
from tinsmith.devices.boards.programs import run

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BOARD", "MACHINE", "PHONE", "PROGRAMS", "System", "is_made", "locked", "made", "script_text", "unpack"]

PROGRAMS = ("mmdebstrap", "tar")

_SUITE = "bookworm"
_PYTHON = "python3.11"
_BUILD_LIMIT_S = 600.0
_LOCALES = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
    "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\ntty:x:5:\nshadow:x:42:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/machine-id": "0" * 31 + "1\n",
}
_FOLDERS = ("data", "opt", "proc", "root", "run/sshd", "sys", "tmp", "var/empty", "var/tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One of them.

    Attributes:
        name: For its folder.
        packages: Of Debian, ``/SUITE`` behind those that another suite brings.
        suites: Others beside the usual one.
        folders: That must be there, beside those that every board has.
        scripts: Paths on the board of files that lie beside this one, by whose names they are given.
    """

    name: str
    packages: tuple[str, ...]
    suites: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    scripts: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is kept; another one for other packages."""
        texts = [(path, script_text(name)) for path, name in self.scripts]
        facts = repr((_SUITE, self.packages, self.suites, self.folders, texts, _FILES, _FOLDERS))
        return cache_folder() / f"{self.name}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"


_PYTHON_PACKAGES = ("libpython3.11-stdlib", "libstdc++6", "python3-minimal")
_PACKAGES = (
    "bash", "coreutils", "dash", "debianutils", "findutils", "grep", "gzip", "hostname", "libc-bin", "libgcc-s1",
    "mount", "procps", "sed", "tar", "util-linux", "zlib1g",
)  # fmt: skip
BOARD = System(name="board", packages=(*_PACKAGES, *_PYTHON_PACKAGES, "openssh-sftp-server"))
# it starts by itself, and brings its own server
MACHINE = System(
    name="machine",
    packages=(*BOARD.packages, "busybox-static", "openssh-server"),
    scripts=(("sbin/board-init", "machine-init.sh"),),
)
# as on a phone there is no Python
PHONE = System(
    name="phone",
    packages=(
        *_PACKAGES,
        *(f"{name}/{_SUITE}-backports" for name in ("adbd", "android-libbase", "android-libboringssl",
          "android-libcutils", "android-liblog")),
    ),
    suites=(f"{_SUITE}-backports",),
    folders=("data/local/tmp", "system"),
)  # fmt: skip


def script_text(name: str) -> str:
    """A script that lies beside this module."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def made(system: System) -> Path:
    """The folder of a system, which is made where it is not there; seconds the first time. Nobody may write to it.

    Raises:
        HostError: A program is missing, apt has no mirror of Debian, or it can't be reached.
        OutputError: The cache can't be written.
    """
    with locked(system.folder) as is_there:
        if not is_there:
            _make(system)
    return system.folder


def is_made(system: System) -> bool:
    """Whether it is there, and nothing needs to be fetched."""
    return system.folder.exists()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Keep everybody else from making what ``path`` names; whether it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path.exists()


def unpack(system: System, folder: Path) -> None:
    """Unpack the packages of a system into an empty folder; without root all belongs to the user.

    Raises:
        HostError: A program is missing, apt has no mirror of Debian, or it can't be reached.
    """
    archive = folder.with_name(f"{folder.name}.tar")
    mirror = debian_mirror()
    sources = [f"deb {mirror} {suite} main" for suite in (_SUITE, *system.suites)]
    command = [
        "mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", "--format=tar",
        # it starts none of their scripts, so that neither root nor an emulator is needed
        "--mode=root" if os.geteuid() == 0 else "--mode=chrootless",
        f"--include={','.join(system.packages)}", _SUITE, str(archive), *sources,
    ]  # fmt: skip
    doing = f"making the system {system.name} from {mirror}"
    try:
        run(command, doing=doing, time_limit_s=_BUILD_LIMIT_S)
        # device nodes need root, and each board brings its own
        run(["tar", "-xf", str(archive), "-C", str(folder), "--exclude=./dev/*"], doing=doing, time_limit_s=120.0)
    finally:
        archive.unlink(missing_ok=True)


def _make(system: System) -> None:
    home = Path(tempfile.mkdtemp(prefix=f".{system.folder.name}.", dir=system.folder.parent))
    try:
        root = home / "root"
        root.mkdir(mode=0o755)
        unpack(system, root)
        _furnish(root, system)
        _compile(root)
        root.rename(system.folder)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _furnish(root: Path, system: System) -> None:
    for name in _LOCALES:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in (*_FOLDERS, *system.folders):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    (root / "etc/shadow").chmod(0o600)
    for name, script in system.scripts:
        (root / name).write_text(script_text(script))
        (root / name).chmod(0o755)


def _compile(root: Path) -> None:
    """Let Python start twice as fast, where this machine has the same version; its byte code is the same everywhere."""
    python = shutil.which(_PYTHON)
    if python is not None:
        library = root / "usr/lib" / _PYTHON
        command = [python, "-m", "compileall", "-q", "-s", str(root), "-p", "/", str(library)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=300.0)
