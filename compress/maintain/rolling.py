"""Canary, waves, and the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.compress.maintain.deciding import is_slow
from tinsmith.compress.maintain.observing import look_on, short_of
from tinsmith.compress.maintain.results import DeviceTurn, Rolled
from tinsmith.runtime.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tinsmith.compress.maintain.plan import MaintenancePlan
    from tinsmith.compress.maintain.ports import Collecting, Deploying, RolledOut, Turn, Waved

__all__ = ["Rollouts"]

_CANARY = "canary"


class Rollouts:
    """Brings the bundle of a round to devices.

    Args:
        plan: How.
        devices: All of them.
        collecting: Looks at the canary's monitors.
        deploying: Flashes, and takes back.
        pause: Waits for so many seconds.
    """

    def __init__(
        self,
        plan: MaintenancePlan,
        devices: Sequence[str],
        *,
        collecting: Collecting,
        deploying: Deploying,
        pause: Callable[[float], None],
    ) -> None:
        self._plan, self._devices = plan, tuple(devices)
        self._collecting, self._deploying, self._pause = collecting, deploying, pause

    @property
    def waves(self) -> Sequence[Waved]:
        """Which devices come when; raises as ``Deploying.waves``."""
        return self._deploying.waves(self._devices, self._plan.orders)

    def canary(self, bundle: Path) -> Rolled:
        """Flash the canary, let it serve for a while, and look at it.

        Raises:
            DeviceError: None of it could be reached, which proves nothing.
        """
        first = [wave for wave in self.waves if wave.title == _CANARY]
        if not first:
            return Rolled()
        rolled = _rolled(self._deploying.roll_out(bundle, first, self._plan.orders))
        if rolled.stopped:
            return rolled
        if not rolled.serving:
            raise _unreached(rolled, "no device of the canary serves the bundle, so nothing is known of it")
        self._pause(self._plan.rollout.watch_s)
        return replace(rolled, stopped="; ".join(filter(None, map(self._ails, rolled.serving))))

    def others(self, bundle: Path) -> Rolled:
        """Flash the waves behind the canary.

        Raises:
            DeviceError: Fewer devices than the plan's quorum serve the bundle, and none of the others has failed.
        """
        rest = [wave for wave in self.waves if wave.title != _CANARY]
        if not rest:
            return Rolled()
        rolled = _rolled(self._deploying.roll_out(bundle, rest, self._plan.orders))
        if not rolled.stopped and short_of(len(rolled.serving), len(rolled.devices), quorum=self._plan.quorum):
            few = f"{len(rolled.serving)} of {len(rolled.devices)} devices could be flashed"
            raise _unreached(rolled, f"{few}, and {self._plan.quorum:.0%} are asked for")
        return rolled

    def back(self, bundle: Path, devices: Sequence[str], reason: str) -> Rolled:
        """Let devices serve what they served before.

        Raises:
            DeviceError: One of them serves the bundle still.
        """
        turns = tuple(map(_turn, self._deploying.roll_back(devices, bundle, reason)))
        left = Rolled(devices=tuple(turn for turn in turns if turn.serves))
        if left.devices:
            raise _unreached(
                left, f"{len(left.devices)} devices could not be taken back, and may serve the bundle still"
            )
        return Rolled(devices=turns)

    def _ails(self, device: str) -> str:
        """What a canary's monitor says against the bundle; drift is no fault of it."""
        if device not in self._plan.monitors:
            return ""
        look = look_on(self._plan, self._collecting, device)
        if look.error:
            return f"{device}: its monitor answers no more: {look.error}"
        if look.errors == "errors":
            return f"{device}: {look.faults} requests failed on the new bundle"
        if is_slow(look, self._plan.act_on):
            return f"{device}: the new bundle is too slow there (p50 {look.p50_ms or 0:.3g} ms)"
        return ""


def _rolled(result: RolledOut) -> Rolled:
    return Rolled(devices=tuple(map(_turn, result.outcomes)), rollout=result.rollout, stopped=result.stopped)


def _turn(turn: Turn) -> DeviceTurn:
    error = turn.error
    return DeviceTurn(
        device=turn.device,
        result=turn.result,
        version=turn.version,
        serves=turn.serves,
        error="" if error is None else error.message,
        exit_code=0 if error is None else error.exit_code,
    )


def _unreached(rolled: Rolled, said: str) -> DeviceError:
    why = "; ".join(f"{turn.device}: {turn.error or turn.result}" for turn in rolled.devices if not turn.serves)
    return DeviceError(f"{said}: {why or ', '.join(rolled.serving)}", hint="when they answer again, run it again")
