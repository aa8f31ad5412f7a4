"""What is asked of an artifact: a union of small dataclasses, one a kind of bound."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.compress.budget import Budget
from tinsmith.compress.search.figures import changed
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.compress.search.figures import Figures

__all__ = [
    "HERE",
    "Ask",
    "Bound",
    "FileBound",
    "LatencyBound",
    "LossBound",
    "MemoryBound",
    "Standing",
    "bytes_of_text",
    "lacking_of",
    "latency_of_text",
    "memory_of_text",
]

_BYTES = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kKMG]?i?[bB]?)\s*")
_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
_TIME = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s)\s*")
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
HERE = "local"
# Where bounds of different kinds are added up, a point of accuracy weighs as much as a fifth of the bytes.
_POINTS_WEIGH = 20.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One bound, and how an artifact stands to it.

    Attributes:
        bound: Its name, as the option is called; with the device, where it has one.
        allowed: The bound: the most, or of an agreement the least.
        reached: The same of the artifact; None where nobody has measured it.
        lacking: How far it lies beyond the bound, in shares of it (a point of accuracy as 0.2); 0 where it is kept,
            infinite where nobody knows.
        said: The artifact's figure against the bound, for people.
    """

    bound: str
    allowed: float
    reached: float | None
    lacking: float
    said: str

    @property
    def kept(self) -> bool:
        """Whether the bound is kept."""
        return self.lacking <= 0

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        lacking = self.lacking if math.isfinite(self.lacking) else None
        return {**asdict(self), "lacking": lacking, "kept": self.kept}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBound:
    """Bytes of the artifact.

    Attributes:
        kind: The file, the same deflated, or weights and graph as a device stores them.
        most: Bytes, at least 1.
    """

    kind: Literal["size", "zip", "flash"]
    most: int

    @property
    def name(self) -> str:
        """As the option is called."""
        return f"max-{self.kind}"

    def reached(self, figures: Figures) -> float | None:
        """Of an artifact."""
        return {"size": figures.file_bytes, "zip": figures.zip_bytes, "flash": figures.flash_bytes}[self.kind]

    def said(self, amount: float) -> str:
        """For people."""
        return f"{amount:,.0f} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBound:
    """Peak memory of a process that runs the artifact on a device, interpreter and engine included.

    Attributes:
        device: Its name.
        most: Bytes, at least 1.
    """

    device: str
    most: int

    @property
    def name(self) -> str:
        """As the option is called, and where."""
        return f"max-ram@{self.device}"

    def reached(self, figures: Figures) -> float | None:
        """Of an artifact."""
        timed = figures.on(self.device)
        return None if timed is None else timed.peak_memory_bytes

    def said(self, amount: float) -> str:
        """For people."""
        return f"{amount / 2**20:,.1f} MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyBound:
    """Median time of a run on a device.

    Attributes:
        device: Its name.
        most: Milliseconds, above 0.
    """

    device: str
    most: float

    @property
    def name(self) -> str:
        """As the option is called, and where."""
        return f"max-latency@{self.device}"

    def reached(self, figures: Figures) -> float | None:
        """Of an artifact."""
        timed = figures.on(self.device)
        return None if timed is None else timed.median_ms

    def said(self, amount: float) -> str:
        """For people."""
        return f"{amount:.3g} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossBound:
    """How much worse than the source's its answers may be; see ``Budget``.

    Attributes:
        name: As the option is called.
        most: 0 to 1; of an agreement the least.
    """

    name: Literal["max-drop", "max-class-drop", "min-agreement"]
    most: float

    def reached(self, figures: Figures) -> float | None:
        """Of an artifact."""
        found = {"max-drop": figures.drop, "max-class-drop": figures.class_drop, "min-agreement": figures.agreement}
        return found[self.name]

    def said(self, amount: float) -> str:
        """For people."""
        return f"{amount:.2%}" if self.name == "min-agreement" else f"{100 * amount:.2f} points"


Bound = FileBound | MemoryBound | LatencyBound | LossBound


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Everything that is asked of an artifact; nothing is bounded unless it is said.

    Attributes:
        budget: Of its answers.
        files: Of its bytes.
        latencies: Of its time on devices.
        memories: Of its memory there.
    """

    budget: Budget = field(default_factory=Budget)
    files: tuple[FileBound, ...] = ()
    latencies: tuple[LatencyBound, ...] = ()
    memories: tuple[MemoryBound, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is said twice, and what can't be; raises ``UsageError``."""
        for name, count in Counter(bound.name for bound in self.bounds).items():
            if count > 1:
                raise UsageError(f"--{name} is given {count} times", hint="give it once; the tightest is what counts")
        physical: tuple[FileBound | MemoryBound | LatencyBound, ...] = (*self.files, *self.memories, *self.latencies)
        for bound in physical:
            if not (bound.most > 0 and math.isfinite(bound.most)):
                raise UsageError(f"--{bound.name} is {bound.most:g}: no artifact keeps that", hint="give more than 0")
        sizes = {bound.kind: bound.most for bound in self.files}
        if "flash" in sizes and "size" in sizes and sizes["size"] > sizes["flash"]:
            raise UsageError(
                f"--max-size {sizes['size']:,} contradicts --max-flash {sizes['flash']:,}: the file is a part of what "
                "a device stores",
                hint="leave --max-size out",
            )

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """All of them."""
        asked = {name: getattr(self.budget, name.replace("-", "_")) for name in self.budget.bounds}
        losses = (LossBound(name=name, most=most) for name, most in asked.items())
        return (*self.files, *self.latencies, *self.memories, *losses)

    @property
    def devices(self) -> tuple[str, ...]:
        """Those that something is to be measured on, each once; this machine where none is named."""
        timed = (bound.device for bound in self.latencies)
        weighed = (bound.device for bound in self.memories)
        return tuple(dict.fromkeys([*timed, *weighed])) or (HERE,)

    def standings(self, figures: Figures) -> tuple[Standing, ...]:
        """How an artifact stands to each bound."""
        return tuple(standing_to(bound, figures) for bound in self.bounds)

    def to_json(self) -> list[dict[str, Any]]:
        """For reports."""
        return [{"bound": bound.name, "allowed": bound.most, "said": bound.said(bound.most)} for bound in self.bounds]


def standing_to(bound: Bound, figures: Figures) -> Standing:
    """How an artifact stands to a bound."""
    reached = bound.reached(figures)
    if reached is None:
        said = f"not measured, {bound.said(bound.most)} allowed"
        return Standing(bound=bound.name, allowed=bound.most, reached=None, lacking=math.inf, said=said)
    least = bound.name == "min-agreement"
    word = "asked for" if least else "allowed"
    return Standing(
        bound=bound.name,
        allowed=bound.most,
        reached=reached,
        lacking=_lacking(bound, reached),
        said=f"{_found(bound, reached, figures)}, {bound.said(bound.most)} {word}",
    )


def _found(bound: Bound, reached: float, figures: Figures) -> str:
    """What an artifact reaches, for people."""
    if bound.name == "max-class-drop":
        return f"{figures.worst} {changed(reached)}".strip()
    return changed(reached) if bound.name == "max-drop" else bound.said(reached)


def _lacking(bound: Bound, reached: float) -> float:
    if isinstance(bound, LossBound):
        beyond = bound.most - reached if bound.name == "min-agreement" else reached - bound.most
        beyond *= _POINTS_WEIGH
    else:
        beyond = reached / bound.most - 1
    return beyond if beyond > _ROUNDING else 0.0


def bytes_of_text(text: str) -> int:
    """Read an amount of bytes: ``100KiB``, ``100kB``, ``1.5MiB`` or ``102400``.

    Raises:
        UsageError: It is something else, less than one byte, or more than a number can be.
    """
    found = _BYTES.fullmatch(text)
    unit = "" if found is None else found["unit"].rstrip("bB").replace("K", "k")
    if found is None or unit not in _UNITS:
        raise UsageError(f"{text!r} is no amount of bytes", hint="write it like 100KiB, 100kB or 102400")
    amount = float(found["number"]) * _UNITS[unit]
    if not 1 <= amount < math.inf:
        raise UsageError(f"{text.strip()} is no amount that a file can have", hint="write it like 100KiB")
    return int(amount)


def latency_of_text(text: str) -> LatencyBound:
    """Read a time on a device: ``5ms@pi4``, or ``5ms`` for this machine.

    Raises:
        UsageError: It is something else, or no time.
    """
    amount, device = _apart(text)
    found = _TIME.fullmatch(amount)
    if found is None or float(found["number"]) == 0:
        raise UsageError(f"{text!r} is no time on a device", hint="write it like 5ms@pi4; a unit is us, ms or s")
    return LatencyBound(device=device, most=float(found["number"]) * _MS[found["unit"]])


def memory_of_text(text: str) -> MemoryBound:
    """Read an amount of memory on a device: ``64MiB@pi4``, or ``64MiB`` for this machine; raises as above."""
    amount, device = _apart(text)
    return MemoryBound(device=device, most=bytes_of_text(amount))


def _apart(text: str) -> tuple[str, str]:
    amount, at, device = text.partition("@")
    if at and not device.strip():
        raise UsageError(f"{text!r} names no device after @", hint="write it like 5ms@pi4, or leave @ out")
    return amount, device.strip() or HERE


def lacking_of(standings: Sequence[Standing]) -> float:
    """How far all bounds together are missed; 0 where all are kept."""
    return sum(standing.lacking for standing in standings)
