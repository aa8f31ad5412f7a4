"""What is asked of a setup, and what it has done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tinsmith.devices.device import Device
    from tinsmith.runtime.agent.answers import DeviceFacts
    from tinsmith.runtime.errors import TinsmithError

__all__ = ["Laid", "Outcome", "SetUp", "Wanted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a user asks for.

    Attributes:
        engine: By the name that ``--engine`` takes; None for the profile's first.
        trust: Files of public keys whose bundles the board shall take.
        wheels: A folder of wheels to choose from; None for what pip finds.
        service: Whether systemd, where there is one, shall keep a server running.
    """

    engine: str | None = None
    trust: tuple[Path, ...] = ()
    wheels: Path | None = None
    service: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A wheel that the board has now.

    Attributes:
        package: What it brings.
        version: Of it.
        size_bytes: Of its file.
        sent_bytes: How many of these were sent; 0 where the board had it.
    """

    package: str
    version: str
    size_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """What was done.

    Attributes:
        device: Its name.
        base: Its base folder, absolute.
        python: The interpreter that its environment was made with, and its version.
        engine: By the name that ``--engine`` takes.
        wheels: What is in its environment.
        unit: The unit that keeps its server running; empty where ``serve`` is to be started by hand.
        notes: What the user should know, for people.
        facts: What its agent answered at the end.
        durations_ms: Of each stage.
    """

    device: str
    base: str
    python: str
    engine: str
    wheels: tuple[Laid, ...]
    unit: str
    notes: tuple[str, ...]
    facts: DeviceFacts
    durations_ms: Mapping[str, float]

    @property
    def sent_bytes(self) -> int:
        """Of all wheels together."""
        return sum(wheel.sent_bytes for wheel in self.wheels)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {**asdict(self), "sent_bytes": self.sent_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of setting up one device.

    Attributes:
        device: Which one.
        done: What was done; None where it failed.
        error: Why it failed.
    """

    device: Device
    done: SetUp | None = None
    error: TinsmithError | None = None
