"""What ``compress`` reported of one artifact of the Pareto set, read back from the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.layers import LayerReport
from tinsmith.convert.slice_scores import FEW
from tinsmith.runtime.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.compress.search.record import Record

__all__ = ["Made", "Moved", "Operators", "Part", "made_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Bytes before and after.

    Attributes:
        quantity: ``file``, ``zip``, ``flash`` or ``ram``.
        before_bytes: Of the source as a plain artifact of the same format; None where nobody knows.
        after_bytes: Of the artifact; None as above.
        estimated: Whether nobody has measured it.
    """

    quantity: str
    before_bytes: int | None
    after_bytes: int | None
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A class or a slice of the samples.

    Attributes:
        name: Its name; of a slice with its column.
        samples: In it.
        before: The source's score on it; None where it has none.
        after: The artifact's.
        change: How much better the artifact is.
    """

    name: str
    samples: int
    before: float | None
    after: float | None
    change: float

    @property
    def has_few(self) -> bool:
        """Whether it is so small that its score says little by itself."""
        return self.samples < FEW


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """Operators of one name and one precision.

    Attributes:
        name: As the format calls it.
        count: How many there are.
        precision: What they compute in.
    """

    name: str
    count: int
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One artifact, as it was made and proven again.

    Attributes:
        path: Below the run's folder.
        recipe: Its recipe's path there.
        moved: Bytes before and after.
        metric: What judged; empty where nothing did.
        before: The source's score, with its standard error where there is one; None where nothing judged.
        after: The artifact's.
        unjudged: Why nothing judged.
        classes: Those that lost most first.
        slices: The same.
        speed: How it compares with the source on the machine that made it, which is no device's latency; empty where
            nothing was timed.
        layers: What quantizing did to each layer; None where nothing was quantized.
        operators: What it is made of.
        tools: Versions that made it.
    """

    path: str
    recipe: str
    moved: tuple[Moved, ...]
    metric: str
    before: str
    after: str
    unjudged: str
    classes: tuple[Part, ...]
    slices: tuple[Part, ...]
    speed: str
    layers: LayerReport | None
    operators: tuple[Operators, ...]
    tools: Mapping[str, str]


def made_of(record: Record, number: int) -> Made | None:
    """What is known of a trial's artifact; None where it was not made again.

    Raises:
        DataError: The record is damaged.
    """
    said = record.artifacts.get(number)
    if said is None:
        return None
    try:
        return _read(said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"the record is damaged: what it says of artifact {number} lacks {first_line(error)}",
            hint="was it written by another version of tinsmith?",
        ) from error


def _read(said: Mapping[str, Any]) -> Made:
    report = said["report"]
    moved = report["moved"]
    accuracy, layers = moved["accuracy"], report["layers"]
    return Made(
        path=said["path"],
        recipe=said["recipe"],
        moved=tuple(_moved(name, moved[name]) for name in ("file", "zip", "flash", "ram")),
        metric=accuracy.get("after", {}).get("metric", ""),
        before=_score(accuracy.get("before")),
        after=_score(accuracy.get("after")),
        unjudged=accuracy["not_judged"],
        classes=tuple(map(_class, accuracy.get("classes", ()))),
        slices=_slices(accuracy),
        speed=_speed(moved["latency"]),
        layers=None if layers is None else LayerReport.from_json(layers),
        operators=tuple(_operators(one) for one in report["manifest"]["operators"]),
        tools=report["manifest"]["lineage"]["tools"],
    )


def _moved(name: str, said: Mapping[str, Any]) -> Moved:
    return Moved(
        quantity=name,
        before_bytes=said["before_bytes"],
        after_bytes=said["after_bytes"],
        estimated=said["estimated"],
    )


def _score(said: Mapping[str, Any] | None) -> str:
    if said is None or said["score"] is None:
        return ""
    share = "correct" in said
    error = said["standard_error"]
    text = f"{said['score']:.2%}" if share else f"{said['score']:.4g}"
    return text if error is None else f"{text} ± {error:.2%}" if share else f"{text} ± {error:.2g}"


def _class(said: Mapping[str, Any]) -> Part:
    after, change = said["accuracy"], said["change"]
    return Part(name=str(said["name"]), samples=said["samples"], before=after - change, after=after, change=change)


def _slices(accuracy: Mapping[str, Any]) -> tuple[Part, ...]:
    was = {(one["column"], one["slice"]): one["score"] for one in accuracy.get("before", {}).get("slices", ())}
    return tuple(
        Part(
            name=f"{one['column']}={one['slice']}",
            samples=one["samples"],
            before=was.get((one["column"], one["slice"])),
            after=one["score"],
            change=one["change"],
        )
        for one in accuracy.get("slices", ())
    )


def _speed(said: Mapping[str, Any]) -> str:
    if said.get("ratio") is None:
        return ""
    ratio, low, high = (said[name] for name in ("ratio", "low", "high"))
    return f"{ratio:.2f} of the source's time ({low:.2f}-{high:.2f} over {said['rounds']} rounds)"


def _operators(said: Mapping[str, Any]) -> Operators:
    return Operators(name=said["name"], count=said["count"], precision=said["precision"])
