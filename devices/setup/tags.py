"""Which wheels a device's Python takes: names of wheels as PEP 427 has them, their tags as PEP 425 and PEP 600 do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinsmith.runtime.engine_tables import order

__all__ = ["Interpreter", "WheelName", "newness", "parse_wheel_name"]

_RELEASE = re.compile(r"\d+(\.\d+)*(\.post\d+)?")
# The oldest C library that manylinux tags name: PEP 513 and 571 were for x86 alone.
_FIRST_MINOR = {"x86_64": 5}
_FIRST_MINOR_ELSEWHERE = 17
_OLDER_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelName:
    """What a wheel's file name says.

    Attributes:
        package: Normalized as PEP 503 says: lower case, dashes.
        version: Of the package.
        pythons: Such as ``cp311`` or ``py3``.
        abis: Such as ``cp311``, ``abi3`` or ``none``.
        platforms: Such as ``manylinux_2_28_aarch64`` or ``any``.
    """

    package: str
    version: str
    pythons: frozenset[str]
    abis: frozenset[str]
    platforms: frozenset[str]

    @property
    def is_release(self) -> bool:
        """Whether it is no pre-release."""
        return _RELEASE.fullmatch(self.version) is not None


def parse_wheel_name(name: str) -> WheelName | None:
    """Read a file name; None where it is not a wheel's."""
    parts = name.removesuffix(".whl").split("-")
    if not name.endswith(".whl") or len(parts) not in (5, 6):
        return None
    pythons, abis, platforms = (frozenset(part.split(".")) for part in parts[-3:])
    return WheelName(
        package=re.sub(r"[-_.]+", "-", parts[0]).lower(),
        version=parts[1],
        pythons=pythons,
        abis=abis,
        platforms=platforms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A device's Python.

    Attributes:
        version: Its first two numbers.
        machine: What programs are compiled for: ``aarch64``, ``armv7l``, ``x86_64``.
        glibc: The version of the C library; None where it is another one, such as musl.
    """

    version: tuple[int, int]
    machine: str
    glibc: tuple[int, int] | None

    def __str__(self) -> str:
        library = "no glibc" if self.glibc is None else f"glibc {self.glibc[0]}.{self.glibc[1]}"
        return f"Python {self.version[0]}.{self.version[1]} on {self.machine} ({library})"

    @property
    def name(self) -> str:
        """For a folder of wheels that it takes."""
        library = "other" if self.glibc is None else f"glibc{self.glibc[0]}.{self.glibc[1]}"
        return f"{self.tag}-{self.machine}-{library}"

    @property
    def tag(self) -> str:
        """Such as ``cp311``."""
        return f"cp{self.version[0]}{self.version[1]}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """Every platform tag that it takes, without ``any``; pip expands none of them for a foreign platform."""
        if self.glibc is None:
            return (f"linux_{self.machine}",)
        first = _FIRST_MINOR.get(self.machine, _FIRST_MINOR_ELSEWHERE)
        numbered = [f"manylinux_2_{minor}" for minor in range(self.glibc[1], first - 1, -1)]
        older = [name for minor, name in _OLDER_NAMES.items() if first <= minor <= self.glibc[1]]
        return tuple(f"{tag}_{self.machine}" for tag in (*numbered, *older, "linux"))

    def takes(self, wheel: WheelName) -> bool:
        """Whether a wheel is for it."""
        # a wheel of compiled code is for a platform
        portable = "any" in wheel.platforms and "none" in wheel.abis
        on_platform = not wheel.platforms.isdisjoint(self.platforms)
        abis = wheel.abis if on_platform else {"none"} if portable else frozenset()
        return any(self._takes(python, abi) for python in wheel.pythons for abi in abis)

    def _takes(self, python: str, abi: str) -> bool:
        kind, found = python[:2], python[2:]
        if not found.isdigit() or kind not in ("cp", "py"):
            return False
        numbers = (int(found[0]), int(found[1:] or 0))
        if abi == "none":
            return python == self.tag or (kind == "py" and numbers[0] == self.version[0] and numbers <= self.version)
        if abi == "abi3":
            return kind == "cp" and numbers <= self.version
        return python == self.tag == abi


def newness(wheel: WheelName) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A key: of two wheels of one version, the one that was made for the newer C library is the larger."""
    built_for = max((order(platform.replace("_", ".")) for platform in wheel.platforms), default=())
    return order(wheel.version), built_for
