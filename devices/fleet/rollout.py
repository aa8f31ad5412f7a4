"""A rollout: waves of devices, each flashed by itself, and stopped where too many fail."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from tinsmith.devices.fleet.outcome import NOT_STARTED, Outcome
from tinsmith.devices.fleet.pool import in_parallel
from tinsmith.devices.fleet.waves import Wave, exceeds
from tinsmith.runtime.errors import TinsmithError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.devices.device import Device
    from tinsmith.devices.flashing.deployment import Deployment
    from tinsmith.devices.flashing.flash import Cargo, Permissions, Watching
    from tinsmith.devices.fleet.journal import Journal
    from tinsmith.devices.fleet.plan import Plan

__all__ = ["Flashing", "Result", "Rollout", "RolloutWatching"]


class Flashing(Protocol):
    """Flashes one device; used by many threads at once."""

    def flash(self, device: Device, cargo: Cargo, permissions: Permissions, watch: Watching) -> Deployment:
        """Make a bundle the one that a device serves; raises ``TinsmithError``, and can be asked again after any."""
        ...


class RolloutWatching(Protocol):
    """Told how a rollout goes on, in the thread that runs it."""

    def wave(self, wave: Wave) -> None:
        """A wave begins."""
        ...

    def started(self, device: str) -> None:
        """A device is begun with."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """A device has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a rollout.

    Attributes:
        rollout: Its name, by which it can go on.
        cargo: What was rolled out.
        outcomes: One for each device, in the order of the plan.
        stopped: Why devices were not started; empty where none was left.
    """

    rollout: str
    cargo: Cargo
    outcomes: tuple[Outcome, ...]
    stopped: str = ""

    @property
    def exit_code(self) -> int:
        """The highest of all devices."""
        return max(outcome.exit_code for outcome in self.outcomes)


class Rollout:
    """Runs a plan, from wherever its journal says it is.

    Args:
        plan: That of the journal; the bundle may lie elsewhere by now.
        journal: Of the rollout.
        devices: By name, all that the plan has.
        flashing: Flashes one of them.
        watch: Told how it goes on.
    """

    def __init__(
        self, plan: Plan, journal: Journal, devices: Mapping[str, Device], *, flashing: Flashing, watch: RolloutWatching
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._devices = devices
        self._flashing = flashing
        self._watch = watch
        self._outcomes = dict(journal.record.outcomes)
        self._asked: set[str] = set()

    def run(self) -> Result:
        """Flash every device that does not serve the bundle yet, wave by wave, until too many of a wave have failed.

        Devices that don't answer are asked once more at the end; what was begun is always brought to its end.

        Raises:
            OutputError: The journal can't be written.
        """
        stopped = ""
        for wave in self._plan.waves:
            if stopped := self._unproven(wave) or self._run(wave):
                break
        else:
            again = (name for name in self._plan.devices if self._outcomes[name].may_answer_again)
            self._run(Wave(title="asked once more", devices=tuple(again)))
        left = (name for name in self._plan.devices if name not in self._asked and not self._serves(name))
        return Result(
            rollout=self._journal.record.id,
            cargo=self._plan.cargo,
            outcomes=tuple(self._outcomes.get(name) or self._not_started(name) for name in self._plan.devices),
            stopped=stopped if any(left) else "",
        )

    def _unproven(self, wave: Wave) -> str:
        """A canary that nobody could reach proves nothing."""
        if wave == self._plan.waves[0] or any(outcome.serves for outcome in self._outcomes.values()):
            return ""
        return f"no device serves the bundle yet, so nothing is known of it: {wave.title} was not begun"

    def _run(self, wave: Wave) -> str:
        """Flash a wave; gives the reason where it stops the rollout."""
        waiting = tuple(name for name in wave.devices if not self._serves(name))
        if waiting:
            self._watch.wave(replace(wave, devices=waiting))
        tally = _Tally(of=len(wave.devices), percent=self._plan.max_failures_percent)

        def starting(name: str) -> bool:
            return not tally.exceeded and self._starting(name)

        for outcome in in_parallel(self._flash, waiting, parallel=self._plan.parallel, starting=starting):
            self._ended(outcome)
            tally.failed += outcome.counts
        return f"{wave.title}: {tally.said}" if tally.exceeded else ""

    def _starting(self, name: str) -> bool:
        self._asked.add(name)
        self._watch.started(name)
        return True

    def _serves(self, name: str) -> bool:
        return name in self._outcomes and self._outcomes[name].serves

    def _ended(self, outcome: Outcome) -> None:
        self._journal.append(outcome)
        self._outcomes[outcome.device] = outcome
        self._watch.ended(outcome)

    def _flash(self, name: str) -> Outcome:
        device, watch, started = self._devices[name], _Begun(), time.perf_counter()
        failed_before = name in self._outcomes and self._outcomes[name].counts
        try:
            deployment = self._flashing.flash(device, self._plan.cargo, self._plan.permissions, watch)
        except TinsmithError as error:
            begun = watch.begun or failed_before
            return Outcome.of_error(device, error, time.perf_counter() - started, begun=begun)
        return Outcome.of(deployment, time.perf_counter() - started)

    def _not_started(self, name: str) -> Outcome:
        return Outcome(device=name, address=self._devices[name].address, result=NOT_STARTED)


@dataclass(slots=True, kw_only=True)
class _Tally:
    """How many of a wave have failed."""

    of: int
    percent: float
    failed: int = 0

    @property
    def exceeded(self) -> bool:
        return exceeds(self.failed, self.of, percent=self.percent)

    @property
    def said(self) -> str:
        return f"{self.failed} of {self.of} failed, and more than {self.percent:g} % may not"


class _Begun:
    """Whether a flash has gone beyond its first question."""

    def __init__(self) -> None:
        self._stages = 0

    @property
    def begun(self) -> bool:
        return self._stages > 1

    def stage(self, name: str) -> None:
        """See ``Watching``."""
        del name
        self._stages += 1

    def sent(self, done_bytes: int, size_bytes: int) -> None:
        """Bytes belong to the stage."""
