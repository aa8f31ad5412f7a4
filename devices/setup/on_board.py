"""What a setup does on the board: sent to the board's own Python, which has nothing but its standard library.

``python -I - JSON`` with this file on its standard input does one job, and prints one JSON document. Nothing here
imports anything of ours, and nothing here is imported on the host but by tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable, Iterator

_CHUNK_BYTES = 1 << 20
_LINKED = "venv"
_LISTED = "wheels.json"
_LOCK_TRIES = 50
_LOOK_AGAIN_S = 0.1


class RefusedError(Exception):
    """Something here is not as it must be; no error of the operating system."""


def look(*, base: str) -> dict[str, Any]:
    """Make the folders, and say what is there."""
    import platform

    home = Path(base).expanduser().absolute()
    wheels = home / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    _check_writable(wheels)
    settings = home / "server.json"
    return {
        "base": str(home),
        "python": sys.executable,
        "prefix": sys.base_prefix,
        "version": platform.python_version(),
        "machine": _machine(platform.machine()),
        "glibc": _glibc(),
        "packages": _versions("numpy", "cryptography"),
        "free_bytes": shutil.disk_usage(home).free,
        "wheels": [path.name for path in wheels.iterdir() if path.is_dir() and not path.name.startswith(".")],
        "parts": {path.stem: path.stat().st_size for path in wheels.glob("*.part")},
        "settings": settings.read_text(encoding="utf-8") if settings.is_file() else "",
        "keys": sorted(path.name for path in (home / "trusted").glob("*.pub")),
        "decryption_key": (home / "decryption.key").is_file(),
        **_services(),
    }


def unpack(*, base: str, sha256: str) -> dict[str, Any]:
    """Make a folder of a wheel that was sent: checked, compiled, and there only when it is whole."""
    import compileall
    import re
    import zipfile

    wheels = Path(base, "wheels")
    part, target, fresh = wheels / f"{sha256}.part", wheels / sha256, wheels / f".{sha256}"
    if not target.is_dir():
        if _sha256(part) != sha256:
            part.unlink()
            raise RefusedError("it has come damaged")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            with zipfile.ZipFile(part) as wheel:
                _lay(wheel, fresh)
        except zipfile.BadZipFile as error:
            raise RefusedError(str(error)) from error
        # what a server never imports is not compiled; tracebacks name the file where it will lie
        compileall.compile_dir(fresh, quiet=2, rx=re.compile("/tests?/"), stripdir=str(fresh), prependdir=str(target))
        os.sync()
        fresh.rename(target)
        _sync(wheels)
    part.unlink(missing_ok=True)
    return {}


def switch(*, base: str, name: str, wheels: list[str], modules: list[str], shared: bool) -> dict[str, Any]:
    """Make the environment NAME of unpacked wheels, import what it is for, and let ``venv`` lead to it.

    Args:
        base: The folder.
        name: Of the environment's folder.
        wheels: Folders below ``wheels/``.
        modules: What must be importable, or nothing changes.
        shared: Whether it sees the packages of the system as well.
    """
    home = Path(base)
    before = _linked(home)
    if not (home / name / _LISTED).is_file():
        _make_environment(home / name, wheels, shared=shared)
    _check_imports(home / name, modules)
    if before == name:
        return {"changed": False}
    _write(home / name / _LISTED, json.dumps(wheels), 0o644)
    os.sync()
    _link(home, name)
    _sweep(home, {name, before})
    return {"changed": True}


def place(*, base: str, files: list[list[Any]]) -> dict[str, Any]:
    """Write files that are not there as they must be: path, text and mode of each; tells which were written."""
    changed = []
    for name, text, mode in files:
        path = str(Path(base, name))
        if not Path(path).is_file() or Path(path).read_text(encoding="utf-8") != text:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            _write(Path(path), text, mode)
            changed.append(path)
    return {"changed": changed}


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the agent's own lock: nobody flashes meanwhile, and no other host sets up."""
    handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    """Wait for the agent's look at an update on trial, which takes moments, and not for a flash."""
    import fcntl
    import time

    for _ in range(_LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOOK_AGAIN_S)
    raise RefusedError("somebody else is updating this device right now")


def _check_writable(folder: Path) -> None:
    probe = folder / f".{os.getpid()}"
    probe.touch()
    probe.unlink()


def _machine(kernel: str) -> str:
    """What programs are compiled for: a 32-bit system may run on a 64-bit kernel."""
    narrow = {"aarch64": "armv7l", "x86_64": "i686"}
    return narrow.get(kernel, kernel) if sys.maxsize < 1 << 32 else kernel


def _glibc() -> str:
    with contextlib.suppress(ValueError, OSError):
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return version if name == "glibc" else ""
    return ""


def _versions(*packages: str) -> dict[str, str]:
    import importlib.metadata

    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _services() -> dict[str, Any]:
    import pwd

    user = os.geteuid()
    name = pwd.getpwuid(user).pw_name if user else "root"
    return {
        "systemd": Path("/run/systemd/system").is_dir() and (not user or Path(f"/run/user/{user}/systemd").is_dir()),
        "user": name,
        "home": str(Path("~").expanduser()),
        "lingers": Path("/var/lib/systemd/linger", name).exists(),
    }


def _lay(wheel: zipfile.ZipFile, folder: Path) -> None:
    """Unpack a wheel; every file in it must be what its RECORD says.

    Programs and headers are left out: a board's server needs none.
    Format: https://packaging.python.org/en/latest/specifications/binary-distribution-format
    """
    hashes = _recorded(wheel)
    for entry in wheel.infolist():
        if entry.is_dir():
            continue
        content = wheel.read(entry)
        _check_recorded(entry.filename, content, hashes)
        place = _place_of(entry.filename)
        if place:
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755 if entry.external_attr >> 16 & 0o111 else 0o644)
    if missing := hashes.keys() - set(wheel.namelist()):
        raise RefusedError(f"it lacks {min(missing)}, which its RECORD names")


def _recorded(wheel: zipfile.ZipFile) -> dict[str, str]:
    import csv
    import io
    import re

    names = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", name)]
    if len(names) != 1:
        raise RefusedError("it has no RECORD")
    rows = csv.reader(io.StringIO(wheel.read(names[0]).decode()))
    return {row[0]: row[1] for row in rows if row}


def _check_recorded(name: str, content: bytes, hashes: dict[str, str]) -> None:
    import base64
    import hashlib

    folder, _, file = name.partition("/")
    if folder.endswith(".dist-info") and file in ("RECORD", "RECORD.jws", "RECORD.p7s"):
        return  # what holds the hashes has none
    method, _, said = hashes.get(name, "").partition("=")
    if method not in ("sha256", "sha384", "sha512"):  # those that the specification allows
        raise RefusedError(f"its RECORD has no hash of {name}")
    found = base64.urlsafe_b64encode(hashlib.new(method, content).digest()).rstrip(b"=").decode()
    if found != said:
        raise RefusedError(f"{name} in it is not what its RECORD says")


def _place_of(name: str) -> str:
    """Where a file of a wheel goes; empty where it is left out."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise RefusedError(f"{name} in it would lie outside of its folder")
    if not parts[0].endswith(".data"):
        return name
    if parts[1] in ("purelib", "platlib"):
        return "/".join(parts[2:])
    if parts[1] in ("scripts", "headers"):
        return ""
    raise RefusedError(f"{name} in it belongs outside of an environment's packages, where nothing is put")


def _make_environment(home: Path, wheels: list[str], *, shared: bool) -> None:
    try:
        import venv
    except ImportError as error:
        raise RefusedError("its Python lacks the module venv (on Debian: sudo apt install python3-venv)") from error

    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False, system_site_packages=shared).create(home)
    packages = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    above = os.path.relpath(home.parent, packages)
    # a line of a .pth file is a folder to import from, seen from the file (https://docs.python.org/3/library/site.html)
    _write(packages / "tinsmith.pth", "".join(f"{above}/wheels/{wheel}\n" for wheel in wheels), 0o644)


def _check_imports(home: Path, modules: list[str]) -> None:
    import subprocess

    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    program = home / "bin" / "python"
    ran = subprocess.run([program, "-I", "-c", script, *modules], capture_output=True, text=True, check=False)
    if ran.returncode:
        lines = ran.stderr.strip().splitlines()
        raise RefusedError(f"{lines[-1] if lines else 'the import'} (exit code {ran.returncode})")


def _link(home: Path, name: str) -> None:
    fresh = home / f".{_LINKED}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    fresh.replace(home / _LINKED)
    _sync(home)


def _linked(home: Path) -> str:
    try:
        return (home / _LINKED).readlink().name
    except OSError:
        return ""


def _sweep(home: Path, environments: set[str]) -> None:
    """Take away what neither the new environment needs nor the one before, which a server may still be running in."""
    listed = [home / name / _LISTED for name in environments if name]
    used = {wheel for path in listed if path.is_file() for wheel in json.loads(path.read_text(encoding="utf-8"))}
    for path in (*home.glob("venv-*"), *(home / "wheels").iterdir()):
        if path.name in environments or path.name in used:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(path: Path, text: str, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.chmod(mode)
    fresh.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _do(job: str, asked: dict[str, Any]) -> dict[str, Any]:
    if job == "look":
        return look(**asked)
    jobs: dict[str, Callable[..., dict[str, Any]]] = {"unpack": unpack, "switch": switch, "place": place}
    with _locked(Path(asked["base"])):
        return jobs[job](**asked)


def main() -> None:
    """Do the job that the argument names."""
    os.umask(0o022)  # a server under a user of its own must be able to read it
    asked = json.loads(sys.argv[1])
    try:
        said = _do(asked.pop("job"), asked)
    except OSError as error:
        said = {"refused": error.strerror or str(error), "number": error.errno or 0, "path": str(error.filename or "")}
    except RefusedError as error:
        said = {"refused": str(error), "number": 0, "path": ""}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
