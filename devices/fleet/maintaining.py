"""What the closed loop asks of devices: their monitors, what they captured, a rollout, and the way back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from tinsmith.devices.flashing.deploying import Deployer, cargo_of, status_of
from tinsmith.devices.flashing.flash import Permissions
from tinsmith.devices.fleet.journal import rollouts_folder
from tinsmith.devices.fleet.outcome import FAILED, NOT_STARTED, ROLLED_BACK
from tinsmith.devices.fleet.plan import Plan
from tinsmith.devices.fleet.pool import in_order
from tinsmith.devices.fleet.preflight import check_devices
from tinsmith.devices.fleet.rolling_out import begin, canary_of
from tinsmith.devices.fleet.waves import Wave, exceeds, plan_waves, read_percent, read_steps
from tinsmith.devices.inventory import resolve_devices
from tinsmith.devices.naming import named
from tinsmith.devices.reaching import open_device
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.monitor.client import look_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.devices.device import Device
    from tinsmith.devices.fleet.outcome import Outcome
    from tinsmith.devices.fleet.rollout import Flashing, Result
    from tinsmith.runtime.errors import TinsmithError
    from tinsmith.runtime.monitor.client import MonitorAddress

__all__ = ["DeviceCollector", "FleetDeployer", "RolledOut", "TakenBack"]

_PULL_S = 60.0
_PARALLEL = 8


class Orders(Protocol):
    """How a bundle goes to devices, in the words of ``tinsmith flash``."""

    @property
    def canary(self) -> str:
        """So many devices, or a name, a group, a tag."""
        ...

    @property
    def waves(self) -> str:
        """Shares of all devices, or numbers."""
        ...

    @property
    def max_failures(self) -> str:
        """More of a wave than this share may not fail."""
        ...

    @property
    def parallel(self) -> int:
        """How many devices are flashed at once."""
        ...

    @property
    def window_s(self) -> float:
        """How long an update is watched before it is kept."""
        ...

    @property
    def unsigned(self) -> bool:
        """Whether devices shall take a bundle that nobody signed."""
        ...


class Waved(Protocol):
    """Devices that get a bundle before the next ones."""

    @property
    def title(self) -> str:
        """For people."""
        ...

    @property
    def devices(self) -> tuple[str, ...]:
        """Their names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOut:
    """What came of a rollout.

    Attributes:
        rollout: Its name, as ``tinsmith rollouts`` lists it.
        outcomes: One for each device.
        stopped: Where too many of a wave have failed, which; empty otherwise. Devices that are off don't count.
    """

    rollout: str
    outcomes: tuple[Outcome, ...]
    stopped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """What came of taking a bundle back from a device.

    Attributes:
        device: Its name.
        result: ``rolled back``, ``failed``, or ``not started`` where it did not serve the bundle.
        version: Of the bundle that it serves now; None for nothing, and where that is not known.
        serves: Whether it serves the bundle still, or may.
        error: Why.
    """

    device: str
    result: str
    version: int | None = None
    serves: bool = False
    error: TinsmithError | None = None


class DeviceCollector:
    """Reads devices of the inventory."""

    def devices(self, names: Sequence[str]) -> tuple[str, ...]:
        """The devices that names, groups and tags stand for; raises ``UsageError`` for what names nothing."""
        return tuple(device.name for device in resolve_devices(names))

    def look(self, address: MonitorAddress) -> dict[str, Any]:
        """The monitor document of a served model; raises as ``look_at``."""
        return look_at(address)

    def pull(self, device: str, path: str, destination: Path) -> None:
        """Fetch a file of a device; the destination is whole or not there.

        Raises:
            DeviceError: It can't be reached, or has no such file.
            OutputError: It can't be written here.
        """
        (found,) = resolve_devices([device])
        with closing(open_device(found)) as transport, named(found, transport):
            transport.get(PurePosixPath(path), destination, time_limit_s=_PULL_S)


class FleetDeployer:
    """Rolls bundles out to devices of the inventory, with a journal of each rollout as ``tinsmith flash`` keeps it.

    Args:
        flashing: Flashes one device; as the commands do unless given.
        folder: Of the journals; the user's unless given.
    """

    def __init__(self, *, flashing: Flashing | None = None, folder: Path | None = None) -> None:
        self._flashing = flashing or Deployer()
        self._folder = folder or rollouts_folder()

    def waves(self, devices: Sequence[str], orders: Orders) -> tuple[Wave, ...]:
        """Which devices come when; raises ``UsageError`` where the orders name none."""
        read_percent(orders.max_failures)
        canary = canary_of(orders.canary, resolve_devices(devices))
        return plan_waves(devices, canary=canary, steps=read_steps(orders.waves))

    def roll_out(self, bundle: Path, waves: Sequence[Waved], orders: Orders) -> RolledOut:
        """Make a bundle the one that devices serve; a device that serves it already is asked, and not flashed.

        Raises:
            DataError: It is no bundle, or damaged.
            TinsmithError: It can't run on some of the devices, or the journal can't be written.
        """
        plan, devices = self._plan(bundle, waves, orders)
        result = begin(plan, devices, self._folder, flashing=self._flashing, watch=_Silent())
        return RolledOut(rollout=result.rollout, outcomes=result.outcomes, stopped=_failing(plan, result))

    def roll_back(self, devices: Sequence[str], bundle: Path, reason: str) -> tuple[TakenBack, ...]:
        """Let devices that serve a bundle serve what they served before; others are left as they are."""
        sha256 = sha256_of(bundle)
        return tuple(
            in_order(lambda device: _taken_back(device, sha256, reason), resolve_devices(devices), parallel=_PARALLEL)
        )

    def _plan(self, bundle: Path, waves: Sequence[Waved], orders: Orders) -> tuple[Plan, tuple[Device, ...]]:
        names = tuple(name for wave in waves for name in wave.devices)
        devices = resolve_devices(names)
        cargo, load = cargo_of(bundle)
        check_devices(load, devices, ())
        plan = Plan(
            cargo=replace(cargo, path=bundle.absolute()),
            devices=names,
            waves=tuple(Wave(title=wave.title, devices=wave.devices) for wave in waves),
            permissions=Permissions(unsigned=orders.unsigned, window_s=orders.window_s),
            max_failures_percent=read_percent(orders.max_failures),
            parallel=orders.parallel,
        )
        return plan, devices


class _Silent:
    """Watches a rollout, and says nothing: the loop tells what came of it."""

    def wave(self, wave: Wave) -> None:
        """See ``RolloutWatching``."""

    def started(self, device: str) -> None:
        """See ``RolloutWatching``."""

    def ended(self, outcome: Outcome) -> None:
        """See ``RolloutWatching``."""


def _failing(plan: Plan, result: Result) -> str:
    """Which wave failed, whether or not devices were left behind it."""
    against = {outcome.device for outcome in result.outcomes if outcome.counts}
    for wave in plan.waves:
        failed = [name for name in wave.devices if name in against]
        if exceeds(len(failed), len(wave.devices), percent=plan.max_failures_percent):
            return f"{wave.title}: {len(failed)} of {len(wave.devices)} failed ({', '.join(failed)})"
    return ""


def _taken_back(device: Device, sha256: str, reason: str) -> TakenBack:
    standing = status_of(device)
    if standing.status is None:
        return TakenBack(device=device.name, result=FAILED, serves=True, error=standing.error)
    active = standing.status.active
    if active is None or active.sha256 != sha256:
        version = None if active is None else active.version
        return TakenBack(device=device.name, result=NOT_STARTED, version=version)
    back = Deployer().rolled_back(device, reason)
    if back.answer is None:
        return TakenBack(device=device.name, result=FAILED, serves=True, error=back.error)
    now = back.answer.active
    return TakenBack(device=device.name, result=ROLLED_BACK, version=None if now is None else now.version)
