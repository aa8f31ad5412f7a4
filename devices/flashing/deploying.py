"""Flash, status and rollback of devices: what the commands call."""

from __future__ import annotations

import contextlib
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.devices.fit import check_fit, read_load
from tinsmith.devices.flashing.agents import agent_of
from tinsmith.devices.flashing.flash import Cargo, Flasher, Permissions
from tinsmith.devices.flashing.host_log import HostLog, host_log_path
from tinsmith.devices.flashing.store import Store, store_folder
from tinsmith.devices.naming import named
from tinsmith.devices.reaching import open_device
from tinsmith.runtime.agent.answers import DeviceStatus, InstalledBundle, RolledBack
from tinsmith.runtime.agent.requests import Health, Rollback, Status
from tinsmith.runtime.bundle.reading import is_bundle, open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.errors import (
    DataError,
    OutputError,
    RolledBackError,
    TinsmithError,
    UnsupportedOperatorError,
    UsageError,
)
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.devices.device import Device
    from tinsmith.devices.fit import Load
    from tinsmith.devices.flashing.deployment import Deployment
    from tinsmith.devices.flashing.flash import Watching

__all__ = ["Deployer", "Standing", "WentBack", "cargo_of", "check_cargo", "status_of"]


def cargo_of(path: Path) -> tuple[Cargo, Load]:
    """Read a bundle that is to be flashed; every byte of it is held against its manifest.

    Raises:
        DataError: It is no bundle, or damaged.
        VerificationError: It is not what its manifest says.
    """
    if not is_bundle(path):
        reason = "is no bundle" if path.is_file() else "is not there"
        raise DataError(
            f"{path} {reason}, and devices take bundles", hint=f"make one: tinsmith bundle {path} -o app.tin"
        )
    load = read_load(path)
    with open_bundle(path, trust=AllowUnsigned()) as bundle:
        manifest = bundle.manifest
    return Cargo(path=path, sha256=sha256_of(path), name=manifest.name, version=manifest.version), load


def check_cargo(load: Load, device: Device, forced: tuple[str, ...]) -> None:
    """Refuse before anything is sent what can't run on a device, or was made for another one.

    Args:
        load: Of the bundle.
        device: Where it is to go.
        forced: Checks that are left out: ``fit``, ``profile``.

    Raises:
        UnsupportedOperatorError: Its engine, operators or size don't fit.
        UsageError: It was made for another profile.
    """
    fit = check_fit(load, device.profile, device=device.name)
    amiss = [finding.said for finding in fit.findings if finding.fits is False]
    if amiss and "fit" not in forced:
        raise UnsupportedOperatorError(
            f"{device.name}: checking: {load.name} does not fit: {'; '.join(amiss)}",
            hint=f"tinsmith devices check {load.name} -d {device.name} says all; --force fit sends it all the same",
        )
    other = [finding.said for finding in fit.findings if finding.what == "made for"]
    if other and "profile" not in forced:
        raise UsageError(
            f"{device.name}: checking: {load.name} is {other[0]}",
            hint=f"make one for it: tinsmith compress ... -d {device.name}; --force profile sends it all the same",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a device serves, or why it could not be asked.

    Attributes:
        device: Which one.
        status: What it says; None where it could not be asked.
        health: What came of running it again; None where nobody asked for that.
        error: Why it could not be asked, or is not healthy.
    """

    device: Device
    status: DeviceStatus | None = None
    health: InstalledBundle | None = None
    error: TinsmithError | None = None

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        error = self.error
        said = None if error is None else error.to_json()
        return {
            "device": self.device.name,
            "address": self.device.address,
            "status": None if self.status is None else asdict(self.status),
            "health": None if self.health is None else asdict(self.health),
            "error": said,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WentBack:
    """What came of a rollback.

    Attributes:
        device: Of which.
        answer: What it says; None where it failed.
        error: Why.
    """

    device: Device
    answer: RolledBack | None = None
    error: TinsmithError | None = None


class Deployer:
    """Flashes devices, and writes down here what was done.

    Args:
        store: Of this machine; the user's unless given.
        log: Of this machine; the user's unless given.
    """

    def __init__(self, *, store: Store | None = None, log: HostLog | None = None) -> None:
        self._store = store or Store(store_folder())
        self._log = log or HostLog(host_log_path())

    def flash(self, device: Device, cargo: Cargo, permissions: Permissions, watch: Watching) -> Deployment:
        """Make a bundle the one that a device serves; raises as ``Flasher.flash``."""
        said = {"model": cargo.name, "version": str(cargo.version), "sha256": cargo.sha256}
        try:
            with closing(open_device(device)) as transport, named(device, transport):
                agent = agent_of(device, transport, bundle=cargo.path)
                flasher = Flasher(device, transport, agent=agent, store=self._store, watch=watch)
                deployment = flasher.flash(cargo, permissions)
        except TinsmithError as error:
            with contextlib.suppress(OutputError):  # what failed is the news
                event = "rollback" if isinstance(error, RolledBackError) else "refusal"
                self._log.append(event, device, **said, reason=error.message[:500])
            raise
        checked = deployment.golden if deployment.verified else "unverified on device"
        self._log.append("commit", device, **said, head=deployment.audit_head, checked=checked)
        return deployment

    def rolled_back(self, device: Device, reason: str) -> WentBack:
        """Let a device serve what it served before; what went wrong is told, and keeps no other device from it."""
        try:
            with closing(open_device(device)) as transport, named(device, transport):
                answer = agent_of(device, transport).ask(Rollback(reason=reason), RolledBack)
        except TinsmithError as error:
            return WentBack(device=device, error=error)
        taken = answer.taken_back
        said = {"model": taken.name, "version": str(taken.version), "sha256": taken.sha256}
        self._log.append("rollback", device, **said, reason=reason)
        return WentBack(device=device, answer=answer)


def status_of(device: Device, *, check: bool = False) -> Standing:
    """Ask a device what it serves; with ``check`` it also hashes and runs it, which changes nothing."""
    status = None
    try:
        with closing(open_device(device)) as transport, named(device, transport):
            agent = agent_of(device, transport)
            status = agent.ask(Status(), DeviceStatus)
            health = agent.ask(Health(), InstalledBundle, time_limit_s=120) if check and status.active else None
            return Standing(device=device, status=status, health=health)
    except TinsmithError as error:
        return Standing(device=device, status=status, error=error)
