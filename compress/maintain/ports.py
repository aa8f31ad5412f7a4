"""What the loop asks of devices, which it does not know: ``__main__`` wires who answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.runtime.errors import TinsmithError
    from tinsmith.runtime.monitor.client import MonitorAddress

__all__ = ["Collecting", "Deploying", "Orders", "RolledOut", "Turn", "Waved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """How a bundle goes to devices; in the words of ``tinsmith flash``.

    Attributes:
        canary: So many devices, or a name, a group, a tag; ``0`` for none.
        waves: Shares of all devices, or numbers.
        max_failures: More of a wave than this share may not fail.
        parallel: How many devices are flashed at once.
        window_s: How long an update is watched before it is kept.
        unsigned: Whether devices shall take a bundle that nobody signed.
    """

    canary: str = "1"
    waves: str = "100%"
    max_failures: str = "50%"
    parallel: int = 8
    window_s: float = 10.0
    unsigned: bool = False


class Waved(Protocol):
    """Devices that get a bundle before the next ones."""

    @property
    def title(self) -> str:
        """``canary`` or ``wave 2``."""
        ...

    @property
    def devices(self) -> tuple[str, ...]:
        """Their names, at least one."""
        ...


class Turn(Protocol):
    """What came of one device."""

    @property
    def device(self) -> str:
        """Its name."""
        ...

    @property
    def result(self) -> str:
        """In a word, such as ``done``, ``failed``, ``rolled back``, ``later`` or ``not started``."""
        ...

    @property
    def version(self) -> int | None:
        """Of the bundle that it serves now; None where that is not known."""
        ...

    @property
    def serves(self) -> bool:
        """Whether it serves what it was given."""
        ...

    @property
    def error(self) -> TinsmithError | None:
        """Why not."""
        ...


class RolledOut(Protocol):
    """What came of a rollout."""

    @property
    def rollout(self) -> str:
        """Its name, as ``tinsmith rollouts`` lists it."""
        ...

    @property
    def outcomes(self) -> Sequence[Turn]:
        """One for each device."""
        ...

    @property
    def stopped(self) -> str:
        """Why devices were not started; empty where none was left."""
        ...


class Collecting(Protocol):
    """Reads what devices know of the model that they serve; used by several threads at once."""

    def devices(self, names: Sequence[str]) -> tuple[str, ...]:
        """The devices that names, groups and tags stand for; raises ``UsageError`` for what names nothing."""
        ...

    def look(self, address: MonitorAddress) -> dict[str, Any]:
        """The monitor document of a served model; raises as ``look_at``."""
        ...

    def pull(self, device: str, path: str, destination: Path) -> None:
        """Fetch a file of a device; the destination is whole or not there.

        Raises:
            DeviceError: It can't be reached, or has no such file.
            OutputError: It can't be written here.
        """
        ...


class Deploying(Protocol):
    """Brings bundles to devices, and takes them back."""

    def waves(self, devices: Sequence[str], orders: Orders) -> Sequence[Waved]:
        """Which devices come when; the first one's title is ``canary`` where there is any.

        Raises:
            UsageError: The orders name no waves, or a canary that is none of the devices.
        """
        ...

    def roll_out(self, bundle: Path, waves: Sequence[Waved], orders: Orders) -> RolledOut:
        """Make a bundle the one that devices serve, wave by wave, until too many of one have failed.

        Asked again for the same bundle and devices, no device that serves it is flashed twice.

        Raises:
            TinsmithError: The bundle can't go to these devices at all. What goes wrong on a device is its outcome.
        """
        ...

    def roll_back(self, devices: Sequence[str], bundle: Path, reason: str) -> Sequence[Turn]:
        """Let devices that serve a bundle serve what they served before; others are left as they are.

        Returns:
            One for each device; ``serves`` says whether it serves the bundle still.
        """
        ...
