"""Devices in memory, for whoever tries the loop; they pass the contract of ``Collecting`` and ``Deploying``."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.errors import DeviceError, TinsmithError, UnreachableError, UsageError, VerificationError
from tinsmith.runtime.files import sha256_of, write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tinsmith.compress.maintain.ports import Orders, Waved
    from tinsmith.runtime.monitor.client import MonitorAddress

__all__ = ["FakeDevices", "FakeRollout", "FakeTurn", "FakeWave"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeWave:
    """See ``Waved``."""

    title: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeTurn:
    """See ``Turn``."""

    device: str
    result: str
    version: int | None = None
    serves: bool = False
    error: TinsmithError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeRollout:
    """See ``RolledOut``."""

    rollout: str
    outcomes: tuple[FakeTurn, ...]
    stopped: str


class FakeDevices:
    """Devices that can be switched off and broken; ``Collecting`` and ``Deploying`` in one.

    Args:
        documents: What their monitors say, by name; a monitor's address is ``http://NAME``.
        captures: Content of the files that they keep, by name and path.

    Attributes:
        off: Names of those that don't answer.
        broken: Names of those that no bundle stays on.
        flashed: By name, the sha256 of all bundles that it was given, the one it serves last.
        flashes: How often each was flashed.
    """

    def __init__(
        self, documents: Mapping[str, dict[str, Any]], captures: Mapping[tuple[str, str], bytes] | None = None
    ) -> None:
        self.documents = dict(documents)
        self.captures = dict(captures or {})
        self.off: set[str] = set()
        self.broken: set[str] = set()
        self.flashed: dict[str, list[str]] = {name: [] for name in documents}
        self.flashes: dict[str, int] = dict.fromkeys(documents, 0)
        self._versions: dict[str, int] = {}
        self._lock = threading.Lock()

    def devices(self, names: Sequence[str]) -> tuple[str, ...]:
        """See ``Collecting``; ``all`` is a group of all."""
        found = dict.fromkeys(device for name in names for device in (self.documents if name == "all" else [name]))
        if unknown := [name for name in found if name not in self.documents]:
            raise UsageError(f"{unknown[0]} names nothing", hint="name a device")
        return tuple(found)

    def look(self, address: MonitorAddress) -> dict[str, Any]:
        """See ``Collecting``."""
        device = address.url.removeprefix("http://")
        if device in self.off or device not in self.documents:
            raise DeviceError(f"cannot reach {address.url}", hint="switch it on")
        return self.documents[device]

    def pull(self, device: str, path: str, destination: Path) -> None:
        """See ``Collecting``."""
        self._refuse_off(device)
        if (device, path) not in self.captures:
            raise DeviceError(f"{device}: there is no {path}", hint="wait until something is captured")
        write_bytes(destination, self.captures[device, path])

    def waves(self, devices: Sequence[str], orders: Orders) -> tuple[FakeWave, ...]:
        """See ``Deploying``; behind the canary comes one wave."""
        if not orders.canary.isdecimal():
            raise UsageError(f"{orders.canary!r} is no canary here", hint="give a number")
        first, rest = tuple(devices[: int(orders.canary)]), tuple(devices[int(orders.canary) :])
        parts = (FakeWave(title="canary", devices=first), FakeWave(title="wave 1", devices=rest))
        return tuple(wave for wave in parts if wave.devices)

    def roll_out(self, bundle: Path, waves: Sequence[Waved], orders: Orders) -> FakeRollout:
        """See ``Deploying``; one failure of a device stops it."""
        del orders
        turns: list[FakeTurn] = []
        stopped = ""
        for wave in waves:
            if stopped:
                turns += [FakeTurn(device=device, result="not started") for device in wave.devices]
                continue
            turns += [self._flash(device, bundle) for device in wave.devices]
            failed = [turn.device for turn in turns if turn.result == "failed"]
            stopped = f"{wave.title}: {', '.join(failed)} failed" if failed else ""
        return FakeRollout(rollout=f"of {bundle.name}", outcomes=tuple(turns), stopped=stopped)

    def roll_back(self, devices: Sequence[str], bundle: Path, reason: str) -> tuple[FakeTurn, ...]:
        """See ``Deploying``."""
        del reason
        return tuple(self._taken_back(device, sha256_of(bundle)) for device in devices)

    def version_of(self, device: str) -> int | None:
        """What a device serves; None for nothing."""
        return self._versions[self.flashed[device][-1]] if self.flashed[device] else None

    def _refuse_off(self, device: str) -> None:
        if device in self.off:
            raise UnreachableError(f"{device}: it is off", hint="switch it on")

    def _flash(self, device: str, bundle: Path) -> FakeTurn:
        sha256, version = sha256_of(bundle), _version_of(bundle)
        self._versions[sha256] = version
        try:
            self._refuse_off(device)
        except UnreachableError as error:
            return FakeTurn(device=device, result="later", error=error)
        if device in self.broken:
            differs = VerificationError(f"{device}: its golden outputs differ")
            return FakeTurn(device=device, result="failed", error=differs)
        if self.flashed[device][-1:] == [sha256]:
            return FakeTurn(device=device, result="unchanged", version=version, serves=True)
        with self._lock:
            self.flashed[device].append(sha256)
            self.flashes[device] += 1
        return FakeTurn(device=device, result="done", version=version, serves=True)

    def _taken_back(self, device: str, sha256: str) -> FakeTurn:
        try:
            self._refuse_off(device)
        except UnreachableError as error:
            return FakeTurn(device=device, result="failed", serves=True, error=error)
        if self.flashed[device][-1:] != [sha256]:
            return FakeTurn(device=device, result="not started", version=self.version_of(device))
        self.flashed[device].pop()
        return FakeTurn(device=device, result="rolled back", version=self.version_of(device))


def _version_of(bundle: Path) -> int:
    with open_bundle(bundle, trust=AllowUnsigned()) as found:
        return found.manifest.version
