"""Flash one device: send what is missing, prove it there, switch, watch it, and keep it or go back.

Every rule about what may be served lives in the agent on the device; here is the order in which it is asked, and what
the user hears. Until the switch nothing changes for the device. From the switch to the commit the update is on trial:
should this machine die, or the link, the device goes back by itself.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tinsmith.devices.flashing.deployment import Deployment, Sent
from tinsmith.devices.flashing.sending import Sender
from tinsmith.runtime.agent.answers import Activated, DeviceStatus, InstalledBundle, MissingBytes, Received, RolledBack
from tinsmith.runtime.agent.requests import Activate, Commit, Health, Install, Receive, Rollback, Status
from tinsmith.runtime.errors import (
    DeviceError,
    DeviceTimeoutError,
    LinkLostError,
    NoRoomError,
    RolledBackError,
    TinsmithError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tinsmith.devices.asking import Asking
    from tinsmith.devices.device import Device
    from tinsmith.devices.flashing.sending import Delivered
    from tinsmith.devices.flashing.store import Store
    from tinsmith.devices.transports.protocol import Putting
    from tinsmith.runtime.fields import Fields

__all__ = ["Cargo", "Flasher", "Permissions", "Watching"]

# What a device waits beyond the health window for its commit: a link that is lost for a moment costs no update.
_GRACE_S = 120.0
_ASK_S = 30.0
_LOST = (UnreachableError, LinkLostError, DeviceTimeoutError)
_TRIES, _BETWEEN_S = 4, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """The bundle that is flashed.

    Attributes:
        path: Of its file.
        sha256: Of its file.
        name: Of the bundle.
        version: Of the bundle.
    """

    path: Path
    sha256: str
    name: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What is allowed, and how long things may take.

    Attributes:
        unsigned: Take a bundle that nobody signed, on a device that trusts no key.
        downgrade: Take an older version than was committed before.
        window_s: How long the update is watched before it is committed.
        time_limit_s: For each answer of the child process that tries the bundle on the device.
    """

    unsigned: bool = False
    downgrade: bool = False
    window_s: float = 10.0
    time_limit_s: float = 60.0


class Watching(Protocol):
    """Told how a flash goes on."""

    def stage(self, name: str) -> None:
        """A stage begins."""
        ...

    def sent(self, done_bytes: int, size_bytes: int) -> None:
        """So many bytes of so many are there."""
        ...


class Flasher:
    """Flashes one device.

    Args:
        device: Which one.
        putting: The way to it; the caller closes it.
        agent: Who answers for it.
        store: Of this machine.
        watch: Told how it goes on.
        pause: Waits for so many seconds.
    """

    def __init__(
        self,
        device: Device,
        putting: Putting,
        *,
        agent: Asking,
        store: Store,
        watch: Watching,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._device = device
        self._putting = putting
        self._agent = agent
        self._store = store
        self._watch = watch
        self._pause = pause
        self._durations_ms: dict[str, float] = {}

    def flash(self, cargo: Cargo, permissions: Permissions) -> Deployment:
        """Make a bundle the one that is served.

        Asked again after anything went wrong, it goes on where it was; a bundle that is served already changes nothing.

        Raises:
            DeviceError: The device can't be reached, was lost, is full, or is being updated by somebody else.
            DataError: The bundle is damaged, or none.
            ModelError: The device's engine does not run it.
            VerificationError: Nobody trusted signed it, it is stale, or its golden inputs give other outputs there.
            RolledBackError: It was served, was not healthy, and the device went back.
        """
        sender = self._sender(cargo)
        with self._stage("asking"):
            asked = self._agent.ask_all((Status(), sender.missing(sender.whole())), time_limit_s=_ASK_S)
        status, known = DeviceStatus.read(asked[0]), MissingBytes.read(asked[1])
        self._refuse_unready(status)
        if known.there == "active" and not status.on_trial and status.active is not None:
            unchanged = Activated(
                active=status.active, on_trial=False, trial_until_s=None, audit_head=status.audit_head
            )
            return self._deployment(status, unchanged, Sent())
        self._agent.foresee(_install(cargo, permissions))
        delivered = self._deliver(sender, known)
        installed, activated = self._switch(cargo, permissions, delivered)
        self._store.keep(cargo.path, cargo.sha256)
        if activated.on_trial:
            installed, activated = self._committed(cargo, permissions)
        sent = Sent() if delivered is None else delivered.sent
        return self._deployment(status, activated, sent, installed)

    def _refuse_unready(self, status: DeviceStatus) -> None:
        name = self._device.name
        if status.busy:
            raise DeviceError(
                f"{name}: asking: somebody else is updating this device right now",
                hint=f"wait until it is done: tinsmith status -d {name}",
            )
        if status.unwritable:
            raise NoRoomError(
                f"{name}: asking: nothing can be written there: {status.unwritable}",
                hint=f"look at the device's disk: df -h {self._agent.base}; is it full, or read-only?",
            )

    def _sender(self, cargo: Cargo) -> Sender:
        return Sender(
            agent=self._agent, putting=self._putting, store=self._store,
            bundle=cargo.path, sha256=cargo.sha256, progress=self._watch.sent,
        )  # fmt: skip

    def _deliver(self, sender: Sender, known: MissingBytes) -> Delivered | None:
        """Bring the bytes there; a patch is made into a bundle at once, for its base may be damaged."""
        if known.there:
            return None
        with self._stage("sending"):
            delivered = sender.deliver(known)
        if delivered.parcel.form != "bsdiff":
            return delivered
        with self._stage("patching"):
            received = self._agent.ask(_receive(sender, delivered), Received)
        if received.received:
            return delivered
        with self._stage("sending"):
            return sender.deliver(known, patches=False)

    def _switch(
        self, cargo: Cargo, permissions: Permissions, delivered: Delivered | None
    ) -> tuple[InstalledBundle, Activated]:
        receive = () if delivered is None else (_receive(self._sender(cargo), delivered),)
        install = _install(cargo, permissions)
        activate = Activate(sha256=cargo.sha256, window_s=permissions.window_s + _GRACE_S)
        limit_s = 3 * permissions.time_limit_s + _ASK_S
        with self._stage("installing"):
            answers = self._agent.ask_all((*receive, install, activate), time_limit_s=limit_s)
        installed = InstalledBundle.read(answers[-2])
        self._tell_apart(installed)
        return installed, Activated.read(answers[-1])

    def _tell_apart(self, installed: InstalledBundle) -> None:
        """What the device has timed itself, apart from the start of Python and the way there."""
        spent_ms = self._durations_ms.pop("installing")
        on_device = dict(installed.durations_ms)
        self._durations_ms[self._agent.between] = max(0.0, spent_ms - sum(on_device.values()))
        self._durations_ms |= on_device

    def _committed(self, cargo: Cargo, permissions: Permissions) -> tuple[InstalledBundle, Activated]:
        """Let the health window pass, look once more, and keep the update; or go back."""
        with self._stage("health window"):
            self._pause(permissions.window_s)
        health = Health(sha256=cargo.sha256, time_limit_s=permissions.time_limit_s)
        requests = (health, Commit(sha256=cargo.sha256))
        limit_s = 3 * permissions.time_limit_s + _ASK_S
        try:
            with self._stage("commit"):
                answers = self._patiently(lambda: self._agent.ask_all(requests, time_limit_s=limit_s))
        except (RolledBackError, DeviceError):
            raise
        except TinsmithError as error:
            raise self._went_back(cargo, error) from error
        return InstalledBundle.read(answers[0]), Activated.read(answers[1])

    def _patiently(self, ask: Callable[[], tuple[Fields, ...]], *, tries: int = _TRIES) -> tuple[Fields, ...]:
        """Asked again where the link is lost for a moment; the device waits for it."""
        try:
            return ask()
        except _LOST as error:
            if tries == 1:
                raise LinkLostError(
                    f"{self._device.name}: commit: it was lost while the update was on trial: {error.message}",
                    hint=self._agent.if_lost(_GRACE_S),
                ) from error
        self._pause(_BETWEEN_S)
        return self._patiently(ask, tries=tries - 1)

    def _went_back(self, cargo: Cargo, error: TinsmithError) -> RolledBackError:
        back = self._agent.ask(Rollback(reason=error.message), RolledBack)
        now = "nothing" if back.active is None else f"version {back.active.version} of {back.active.name}"
        return RolledBackError(
            f"{self._device.name}: health window: version {cargo.version} of {cargo.name} was taken back, "
            f"and the device serves {now}: {error.message}",
            hint=error.hint or "mend the bundle, and flash a newer version",
        )

    def _deployment(
        self, before: DeviceStatus, after: Activated, sent: Sent, installed: InstalledBundle | None = None
    ) -> Deployment:
        was = before.previous if before.on_trial else before.active
        return Deployment(
            device=self._device.name,
            address=self._device.address,
            active=after.active,
            before=was,
            changed=was is None or was.sha256 != after.active.sha256,
            sent=sent,
            engine="" if installed is None else installed.engine,
            engine_version="" if installed is None else installed.engine_version,
            golden="" if installed is None else installed.golden,
            served="" if installed is None else installed.served,
            start="" if installed is None else installed.start,
            durations_ms=self._durations_ms,
            audit_head=after.audit_head,
            verified=after.active.verified,
        )

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._watch.stage(name)
        started = time.perf_counter()
        yield
        self._durations_ms[name] = (time.perf_counter() - started) * 1e3


def _install(cargo: Cargo, permissions: Permissions) -> Install:
    return Install(
        sha256=cargo.sha256,
        allow_unsigned=permissions.unsigned,
        allow_downgrade=permissions.downgrade,
        time_limit_s=permissions.time_limit_s,
    )


def _receive(sender: Sender, delivered: Delivered) -> Receive:
    parcel = delivered.parcel
    size_bytes = sender.whole().size_bytes
    return Receive(sha256=sender.sha256, size_bytes=size_bytes, part=parcel.sha256, form=parcel.form, base=parcel.base)
