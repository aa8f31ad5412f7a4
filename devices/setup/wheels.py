"""The wheels that a device needs, and how they are found: in a folder, or by the user's own pip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tinsmith.devices.setup.tags import newness, parse_wheel_name
from tinsmith.runtime.engine_tables import order
from tinsmith.runtime.errors import HostError
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.devices.setup.tags import Interpreter, WheelName

__all__ = ["FolderOfWheels", "Requirement", "Wheel", "Wheels", "newest_in", "wheel_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A package, and which versions of it will do; an empty bound is none.

    Attributes:
        package: Its name.
        exactly: This version.
        least: This one or a later one.
        most: This one or an earlier one.
        below: One before this.
    """

    package: str
    exactly: str = ""
    least: str = ""
    most: str = ""
    below: str = ""

    def __str__(self) -> str:
        bounds = {"==": self.exactly, ">=": self.least, "<=": self.most, "<": self.below}
        return self.package + ",".join(f"{sign}{version}" for sign, version in bounds.items() if version)

    def takes(self, wheel: WheelName) -> bool:
        """Whether a wheel is of this package and of one of these versions."""
        if wheel.package != self.package or not wheel.is_release:
            return False
        if self.exactly:
            return wheel.version == self.exactly
        version = order(wheel.version)
        return not (
            (self.least and version < order(self.least))
            or (self.most and version > order(self.most))
            or (self.below and version >= order(self.below))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel on this machine.

    Attributes:
        path: Its file.
        package: What it brings.
        version: Of it.
        sha256: Of the file.
        size_bytes: Of the file.
    """

    path: Path
    package: str
    version: str
    sha256: str
    size_bytes: int


class Wheels(Protocol):
    """Where wheels come from."""

    def find(self, requirement: Requirement, interpreter: Interpreter) -> Wheel | None:
        """The newest release that will do; None where there is none.

        Raises:
            HostError: It can't be looked for.
        """
        ...

    def where(self) -> str:
        """Where they come from, for messages, such as ``the folder /wheels``."""
        ...


class FolderOfWheels:
    """Wheels that lie in a folder; no network is asked."""

    def __init__(self, folder: Path) -> None:
        """Look at nothing yet.

        Raises:
            HostError: It is no folder.
        """
        if not folder.is_dir():
            raise HostError(f"there is no folder of wheels {folder}", hint="name one with --wheels, or leave it out")
        self._folder = folder

    def find(self, requirement: Requirement, interpreter: Interpreter) -> Wheel | None:
        """See ``Wheels``."""
        return newest_in(self._folder, requirement, interpreter)

    def where(self) -> str:
        """See ``Wheels``."""
        return f"the folder {self._folder}"


def newest_in(folder: Path, requirement: Requirement, interpreter: Interpreter) -> Wheel | None:
    """The newest wheel in a folder that will do, and that the interpreter takes."""
    named = [(parse_wheel_name(path.name), path) for path in sorted(folder.glob("*.whl"))]
    fitting = [(name, path) for name, path in named if name and requirement.takes(name) and interpreter.takes(name)]
    if not fitting:
        return None
    return wheel_at(max(fitting, key=lambda found: newness(found[0]))[1])


def wheel_at(path: Path) -> Wheel:
    """A wheel's file, hashed.

    Raises:
        HostError: It has no wheel's name.
    """
    name = parse_wheel_name(path.name)
    if name is None:
        raise HostError(f"{path} has no wheel's name", hint="wheels are named PACKAGE-VERSION-PYTHON-ABI-PLATFORM.whl")
    return Wheel(
        path=path,
        package=name.package,
        version=name.version,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )
