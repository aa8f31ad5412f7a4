"""What the debugger found, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.layers.wording import decibels_text, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

__all__ = ["Culprit", "LayerError", "LayerReport", "OnlyOne"]

_MOST_NAMED, _NAME = 2, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """How far one tensor of the other model lies from that of the float model.

    Ratios in decibels are of powers over all samples, None where there is no error: that of the float model's values
    over that of an error.

    Attributes:
        position: Its place in the order of execution; inputs stand at 0.
        name: As the float model calls it.
        operator: What computes it in the float model, such as ``CONV_2D``, or ``Conv+Relu`` where the other model has
            one operator for several; ``input`` for what is fed.
        dtype: numpy's name of what the float model stores in it.
        other_dtype: The same of the other model.
        scale: What one step of the integers is worth; None for real numbers.
        zero_point: The integer that stands for 0; None for real numbers.
        low: The least value in the float model.
        high: The greatest.
        mean_abs: Mean absolute error.
        largest: Largest absolute error.
        snr_db: Over the whole error.
        own_db: The same over the error that was added here, without what was handed on: the other model's distance
            from what the float operator gives on the very inputs that the other model fed it.
        felt_db: The same one operator later: what the error added here changes in the answers of those that take the
            tensor. None where nothing is felt, and where another input of the same operator brings most of the error.
        taken: Whether there is an operator later.
        saturated: Share of values at an end of the integers although the float operator gave at least a
            whole step more; None without them.
        range_use: Share of the integers that 99.9 % of the float model's values keep to; None without them.
        lost_channels: Share of the channels to which more than a tenth of their power was added as error, dead channels
            left out; None for tensors without channels.
    """

    position: int
    name: str
    operator: str
    dtype: str
    other_dtype: str
    scale: float | None
    zero_point: int | None
    low: float
    high: float
    mean_abs: float
    largest: float
    snr_db: float | None
    own_db: float | None
    felt_db: float | None
    taken: bool
    saturated: float | None
    range_use: float | None
    lost_channels: float | None

    @property
    def harm_db(self) -> float | None:
        """What the error that was added here costs: where it is felt, or in the tensor itself if nothing takes it."""
        return self.felt_db if self.taken else self.own_db


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """A layer that adds more error than the number format has to.

    Attributes:
        position: Of its ``LayerError``.
        name: Of its tensor.
        operator: As in ``LayerError``.
        harm_db: How loud the error is that it adds, one operator later; the lower the worse.
        reasons: What was seen there, in plain words; the most telling first.
    """

    position: int
    name: str
    operator: str
    harm_db: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlyOne:
    """An operator that only one of the two models has.

    Attributes:
        name: Of the first tensor that it computes.
        operator: As its format names it.
    """

    name: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """Two models held against each other, tensor by tensor.

    Attributes:
        samples: How many were run.
        layers: In the order of execution.
        culprits: The worst first; empty where every layer does what its number format allows.
        only_reference: What the other model does without: folded, fused or left out.
        only_other: What it has besides.
        remark: What holds for the whole pair; empty where nothing does.
    """

    samples: int
    layers: tuple[LayerError, ...]
    culprits: tuple[Culprit, ...]
    only_reference: tuple[OnlyOne, ...]
    only_other: tuple[OnlyOne, ...]
    remark: str = ""

    @property
    def worst_first(self) -> tuple[LayerError, ...]:
        """Layers by what the error that each adds costs; those without error in the end."""
        return tuple(sorted(self.layers, key=_loudness))

    def in_short(self) -> str:
        """Who is to blame, in one line or two."""
        if self.remark:
            return self.remark
        if not self.culprits:
            worst = self.worst_first[0]
            loudest = (
                f"the loudest is {worst.operator} {shortened(worst.name, _NAME)} ({decibels_text(worst.harm_db)} dB)"
            )
            return f"none to blame; {loudest}"
        named = [
            f"{culprit.operator} {shortened(culprit.name, _NAME)} ({culprit.harm_db:.1f} dB): {culprit.reasons[0]}"
            for culprit in self.culprits[:_MOST_NAMED]
        ]
        left = len(self.culprits) - len(named)
        return " | ".join(named) + (f" | and {left} more" if left else "")

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        layers = [{**asdict(layer), "harm_db": layer.harm_db} for layer in self.layers]
        return {**asdict(self), "layers": layers}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave."""
        layers = [{name: value for name, value in layer.items() if name != "harm_db"} for layer in said["layers"]]
        culprits = [{**one, "reasons": tuple(one["reasons"])} for one in said["culprits"]]
        return cls(
            samples=said["samples"],
            layers=tuple(LayerError(**layer) for layer in layers),
            culprits=tuple(Culprit(**one) for one in culprits),
            only_reference=tuple(OnlyOne(**one) for one in said["only_reference"]),
            only_other=tuple(OnlyOne(**one) for one in said["only_other"]),
            remark=said["remark"],
        )


def _loudness(layer: LayerError) -> float:
    return float("inf") if layer.harm_db is None else layer.harm_db
