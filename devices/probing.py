"""What a live device says of itself, and where that is at odds with its profile."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tinsmith.devices.placing import base_on
from tinsmith.devices.reaching import open_device
from tinsmith.runtime.cpu import Cpu, parse_cpuinfo
from tinsmith.runtime.engine_tables import order
from tinsmith.runtime.engines import ENGINES
from tinsmith.runtime.errors import DeviceError, TinsmithError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinsmith.devices.device import Device
    from tinsmith.devices.transports.protocol import Running
    from tinsmith.runtime.profile import EngineThere, Profile

__all__ = ["Disagreement", "Look", "Probed", "disagreements", "probe", "probe_all"]

_TIME_LIMIT_S = 30.0
# Firmware, the GPU and the kernel keep some of what the data sheet says, file systems some of the disk.
_LEAST_SHARE = 0.8
# The first Python of a list that is there; a board that is set up has one of its own.
_PYTHON = 'for p in "$1/venv/bin/python" python3; do command -v "$p" >/dev/null && exec "$p" -c "$2"; done; exit 127'
_VERSIONS = """
import json, struct, sys
from importlib import metadata
found = {}
for name in PACKAGES:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps({"python": "%d.%d.%d" % sys.version_info[:3], "bits": 8 * struct.calcsize("P"), "packages": found}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a device said; None and empty where it did not say.

    Attributes:
        system: Kernel and release.
        machine: As ``uname -m`` prints it.
        cpu: Its architecture for programs, which is a 32-bit one under a 32-bit system on a 64-bit kernel.
        ram_bytes: All that the kernel has.
        disk_bytes: Of the disk that the base folder is on, or would be.
        disk_free_bytes: Of the same, what its user may still write.
        python: The version.
        engines: Versions by the name that ``--engine`` takes.
    """

    system: str
    machine: str
    cpu: Cpu | None = None
    ram_bytes: int | None = None
    disk_bytes: int | None = None
    disk_free_bytes: int | None = None
    python: str = ""
    engines: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        cpu = None if self.cpu is None else {"arch": self.cpu.arch, "features": sorted(self.cpu.features)}
        document = asdict(self)
        return {**document, "cpu": cpu}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One thing in which a device is not what its profile says.

    Attributes:
        what: Such as ``RAM``.
        profile: What the profile says.
        device: What the device says.
    """

    what: str
    profile: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What came of probing one device.

    Attributes:
        device: Which one.
        probed: What it said; None where it could not be asked.
        error: Why not.
    """

    device: Device
    probed: Probed | None = None
    error: TinsmithError | None = None


def probe_all(devices: Sequence[Device]) -> tuple[Look, ...]:
    """Probe devices one after the other; one that can't be asked keeps no other from it."""
    return tuple(_look(device) for device in devices)


def _look(device: Device) -> Look:
    try:
        with closing(open_device(device)) as transport:
            return Look(device=device, probed=probe(transport, base=str(base_on(device))))
    except TinsmithError as error:
        return Look(device=device, error=error)


def probe(device: Running, *, base: str = "") -> Probed:
    """Ask a device for what it is; nothing is written to it.

    Args:
        device: Where to ask.
        base: The folder that tinsmith uses there; the disk of ``/`` is looked at where it is not given.

    Raises:
        DeviceError: It can't be reached, was lost, or does not even answer ``uname``.
    """
    kernel, _, release, machine = _uname(device)
    python = _python(device, base)
    arch = "armv7l" if machine in ("aarch64", "arm64") and python.get("bits") == 32 else machine
    disk_bytes, free_bytes = _disk(device, base)
    packages = python.get("packages", {})
    return Probed(
        system=f"{kernel} {release}",
        machine=machine,
        cpu=parse_cpuinfo(_said(device, ["cat", "/proc/cpuinfo"]), machine=arch),
        ram_bytes=_memory_bytes(_said(device, ["cat", "/proc/meminfo"])),
        disk_bytes=disk_bytes,
        disk_free_bytes=free_bytes,
        python=python.get("python", ""),
        engines={choice.name: packages[choice.package] for choice in ENGINES if choice.package in packages},
    )


def disagreements(profile: Profile, probed: Probed) -> tuple[Disagreement, ...]:
    """Where a device is not what its profile says.

    What it did not say is no disagreement, nor is more memory: profiles name the variant that has least. More CPU
    features are one where the profile stands for a single chip.
    """
    return (
        *_of_the_cpu(profile, probed),
        *_too_little("RAM", profile.ram_bytes, probed.ram_bytes),
        *_too_little("disk", profile.flash_bytes, probed.disk_bytes),
        *_of_the_engines(profile, probed),
    )


def _of_the_cpu(profile: Profile, probed: Probed) -> list[Disagreement]:
    stated, there = profile.cpu, probed.cpu
    if stated is None or there is None:
        return []
    if stated.arch != there.arch:
        return [Disagreement(what="architecture", profile=stated.arch, device=there.arch)]
    found = []
    if missing := sorted(stated.features - there.features):
        found.append(Disagreement(what="CPU features", profile=", ".join(missing), device="not there"))
    if profile.soc and (more := sorted(there.features - stated.features)):
        found.append(Disagreement(what="CPU features", profile="not stated", device=", ".join(more)))
    return found


def _too_little(what: str, stated_bytes: int | None, there_bytes: int | None) -> list[Disagreement]:
    if stated_bytes is None or there_bytes is None or there_bytes >= _LEAST_SHARE * stated_bytes:
        return []
    return [Disagreement(what=what, profile=f"{stated_bytes:,} bytes", device=f"{there_bytes:,} bytes")]


def _of_the_engines(profile: Profile, probed: Probed) -> list[Disagreement]:
    stated = {engine.name: engine for engine in profile.engines if engine.newest}
    if not stated:
        return []
    return [
        Disagreement(what=f"engine {name}", profile=_range(stated.get(name)), device=version)
        for name, version in probed.engines.items()
        if name not in stated or not order(stated[name].oldest) <= order(version) <= order(stated[name].newest)
    ]


def _range(engine: EngineThere | None) -> str:
    return "not stated" if engine is None else f"{engine.oldest} to {engine.newest}"


def _uname(device: Running) -> tuple[str, str, str, str]:
    words = _said(device, ["uname", "-snrm"]).split()
    if len(words) != 4:
        raise DeviceError(
            f"the device says {' '.join(words)!r} for `uname -snrm`, and not what it is",
            hint="log in and look; tinsmith needs a Linux or Android device",
        )
    return words[0], words[1], words[2], words[3]


def _python(device: Running, base: str) -> dict[str, Any]:
    packages = tuple(choice.package for choice in ENGINES)
    script = _VERSIONS.replace("PACKAGES", repr(packages))
    said = _said(device, ["sh", "-c", _PYTHON, "sh", base, script])
    try:
        found = json.loads(said)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _memory_bytes(meminfo: str) -> int | None:
    for line in meminfo.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdigit():
            return int(words[1]) * 1024
    return None


def _disk(device: Running, base: str) -> tuple[int | None, int | None]:
    """All and free bytes by the POSIX format of df; the disk of ``/`` where the folder is not there yet."""
    for folder in (base, "/") if base else ("/",):
        lines = _said(device, ["df", "-Pk", folder]).splitlines()
        numbers = [word for word in lines[-1].split()[1:4] if word.isdigit()] if len(lines) > 1 else []
        if len(numbers) == 3:
            return int(numbers[0]) * 1024, int(numbers[2]) * 1024
    return None, None


def _said(device: Running, arguments: Sequence[str]) -> str:
    """What a program printed; nothing where it failed or is not there."""
    ran = device.run(arguments, time_limit_s=_TIME_LIMIT_S)
    return ran.stdout.decode("utf-8", errors="replace") if ran.code == 0 else ""
