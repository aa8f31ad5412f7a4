"""Rollouts as the commands call them: begun, and gone on with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tinsmith.devices.flashing.deploying import cargo_of
from tinsmith.devices.flashing.flash import Permissions
from tinsmith.devices.fleet.journal import begin_journal, open_journal
from tinsmith.devices.fleet.plan import Plan
from tinsmith.devices.fleet.preflight import check_devices
from tinsmith.devices.fleet.rollout import Rollout
from tinsmith.devices.fleet.waves import plan_waves
from tinsmith.devices.inventory import resolve_devices
from tinsmith.runtime.errors import DataError, UsageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.devices.device import Device
    from tinsmith.devices.fleet.rollout import Flashing, Result, RolloutWatching
    from tinsmith.devices.fleet.waves import Step

__all__ = ["Orders", "begin", "canary_of", "plan_of", "resume"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """How a rollout goes.

    Attributes:
        canary: Names of the devices that come first, alone.
        steps: The waves behind them; what is left is one more.
        max_failures_percent: More of a wave than this may not fail.
        parallel: How many devices are flashed at once.
        permissions: Of each flash.
        forced: Checks that are left out before anything is sent.
    """

    canary: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    max_failures_percent: float = 50.0
    parallel: int = 8
    permissions: Permissions = field(default_factory=Permissions)
    forced: tuple[str, ...] = ()


def canary_of(word: str, devices: Sequence[Device]) -> tuple[str, ...]:
    """The devices that come first: so many of them, or those that a name, a group or a tag stands for.

    Raises:
        UsageError: It names nothing, or a device that the bundle does not go to.
    """
    if word.isdecimal():
        return tuple(device.name for device in devices[: int(word)])
    names = {device.name for device in devices}
    canary = tuple(device.name for device in resolve_devices([word]))
    if strange := [name for name in canary if name not in names]:
        hint = f"name it as well: -d {strange[0]}"
        raise UsageError(f"the canary {strange[0]} is none of the devices that are flashed", hint=hint)
    return canary


def plan_of(file: Path, devices: Sequence[Device], orders: Orders) -> Plan:
    """Read a bundle, check it for every device, and put the devices into waves.

    Raises:
        DataError: It is no bundle, or damaged.
        VerificationError: It is not what its manifest says.
        TinsmithError: It can't run on some of the devices; see ``check_devices``.
    """
    cargo, load = cargo_of(file)
    check_devices(load, devices, orders.forced)
    names = tuple(device.name for device in devices)
    return Plan(
        cargo=replace(cargo, path=file.absolute()),
        devices=names,
        waves=plan_waves(names, canary=orders.canary, steps=orders.steps),
        permissions=orders.permissions,
        forced=orders.forced,
        max_failures_percent=orders.max_failures_percent,
        parallel=orders.parallel,
    )


def begin(plan: Plan, devices: Sequence[Device], folder: Path, *, flashing: Flashing, watch: RolloutWatching) -> Result:
    """Write down a plan, and run it; raises as ``Rollout.run``."""
    with begin_journal(plan, folder) as journal:
        return Rollout(plan, journal, _by_name(devices), flashing=flashing, watch=watch).run()


def resume(path: Path, file: Path | None, *, flashing: Flashing, watch: RolloutWatching) -> Result:
    """Go on with a rollout: what does not serve the bundle yet is flashed, as it was planned.

    Devices are reached as the inventory says by now. Those that failed are asked again: whoever goes on has looked.

    Args:
        path: Of its journal.
        file: The bundle, where it lies elsewhere by now.
        flashing: Flashes one device.
        watch: Told how it goes on.

    Raises:
        BusyError: The rollout is going on already.
        UsageError: A device is no longer in the inventory.
        VerificationError: The bundle is another one.
        TinsmithError: As ``plan_of``, and as ``Rollout.run``.
    """
    with open_journal(path) as journal:
        devices = resolve_devices(journal.record.plan.devices)
        plan = _checked(journal.record.plan, file or journal.record.plan.cargo.path, devices)
        return Rollout(plan, journal, _by_name(devices), flashing=flashing, watch=watch).run()


def _checked(plan: Plan, file: Path, devices: Sequence[Device]) -> Plan:
    """The plan with the bundle where it lies now."""
    if not file.is_file():
        hint = "say where it lies now: tinsmith flash BUNDLE --resume"
        raise DataError(f"the bundle of the rollout, {file}, is not there", hint=hint)
    cargo, load = cargo_of(file)
    if cargo.sha256 != plan.cargo.sha256:
        raise VerificationError(
            f"{file} is not the bundle that the rollout began with (sha256 {plan.cargo.sha256[:12]}…)",
            hint="name that file: tinsmith flash BUNDLE --resume; or begin a new rollout",
        )
    check_devices(load, devices, plan.forced)
    return replace(plan, cargo=replace(cargo, path=file.absolute()))


def _by_name(devices: Sequence[Device]) -> dict[str, Device]:
    return {device.name: device for device in devices}
