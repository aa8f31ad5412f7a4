"""Wheels for another machine, by the user's own pip and what it is configured to."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.devices.setup.wheels import newest_in
from tinsmith.runtime.errors import HostError, OutputError

if TYPE_CHECKING:
    from tinsmith.devices.setup.tags import Interpreter
    from tinsmith.devices.setup.wheels import Requirement, Wheel

__all__ = ["PipWheels", "wheel_cache"]

_TIME_LIMIT_S = 900.0
# pip says the same of an index that it can't reach as of one that has no such wheel, but warns before
_UNREACHABLE = ("Retrying (", "NewConnectionError", "connection broken", "ConnectTimeoutError", "SSLError")
_NONE = ("No matching distribution found", "Could not find a version")
_OFFLINE = "`--wheels FOLDER` takes wheels that you have fetched elsewhere, and needs no network"


class PipWheels:
    """Wheels that ``pip download`` fetches, and those that it has fetched before: a fleet gets the same ones."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache or wheel_cache()

    def find(self, requirement: Requirement, interpreter: Interpreter) -> Wheel | None:
        """See ``Wheels``.

        Raises:
            HostError: There is no pip here, it can't reach its index, or it failed.
            OutputError: The cache can't be written.
        """
        folder = self._cache / interpreter.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(folder, error) from error
        return newest_in(folder, requirement, interpreter) or _downloaded(requirement, interpreter, folder)

    def where(self) -> str:
        """See ``Wheels``."""
        return "what pip finds"


def wheel_cache() -> Path:
    """Where fetched wheels are kept, one folder a kind of Python."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification: a relative path there counts as none
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "tinsmith" / "wheels"


def _downloaded(requirement: Requirement, interpreter: Interpreter, folder: Path) -> Wheel | None:
    if find_spec("pip") is None:
        raise HostError(
            f"{requirement} can't be fetched: this Python has no pip", hint=f"python -m ensurepip; or {_OFFLINE}"
        )
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        failure = _run(_arguments(requirement, interpreter, fresh), requirement)
        if failure:
            _check_answered(requirement, failure)
            return None
        for path in Path(fresh).iterdir():
            path.replace(folder / path.name)
    return newest_in(folder, requirement, interpreter)


def _arguments(requirement: Requirement, interpreter: Interpreter, folder: str) -> list[str]:
    # every tag is listed: pip does not expand those of a foreign platform
    platforms = [word for platform in interpreter.platforms for word in ("--platform", platform)]
    return [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input",
        "--disable-pip-version-check", "--progress-bar=off",
        "--implementation=cp", f"--python-version={interpreter.version[0]}.{interpreter.version[1]}",
        f"--abi={interpreter.tag}", *platforms, f"--dest={folder}", str(requirement),
    ]  # fmt: skip


def _run(arguments: list[str], requirement: Requirement) -> str:
    """What pip said; empty where it was done."""
    try:
        ran = subprocess.run(arguments, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        said = f"pip can't fetch {requirement}: it was not done within {_TIME_LIMIT_S:g} s"
        raise HostError(said, hint=_OFFLINE) from error
    return (ran.stderr or f"it ended with exit code {ran.returncode}") if ran.returncode else ""


def _check_answered(requirement: Requirement, failure: str) -> None:
    """Return where pip has looked, and there is no such wheel."""
    lines = [line.removeprefix("ERROR: ").strip() for line in failure.splitlines() if line.strip()]
    if any(word in failure for word in _UNREACHABLE):
        raise HostError(f"pip can't fetch {requirement}: it can't reach its index", hint=_OFFLINE)
    if not any(word in failure for word in _NONE):
        raise HostError(f"pip can't fetch {requirement}: {lines[-1]}", hint=_OFFLINE)
