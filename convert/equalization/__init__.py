"""Equalization: channels of a float model reach equally far, the answers stay, and int8 loses less of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.convert.equalization.biases import Corrected, correct_biases
from tinsmith.convert.equalization.graph import Blocked, Link
from tinsmith.convert.equalization.opening import opened
from tinsmith.convert.equalization.rules import ByActivations, ByWeights, Rule
from tinsmith.convert.equalization.scaling import scale
from tinsmith.convert.equalization.watching import observe_reaches
from tinsmith.runtime.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tinsmith.convert.quantization.quantizer import Feeds

__all__ = [
    "Blocked",
    "ByActivations",
    "ByWeights",
    "Corrected",
    "Equalized",
    "Pair",
    "Rule",
    "channel_reaches",
    "correct_biases",
    "equalize",
    "observe_reaches",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two layers whose channels were scaled against each other.

    Attributes:
        producer: The name of the first tensor that the one computes.
        consumer: The same of the other.
        seen: The tensor between them that was evened out.
        before: How much further its widest channel reached than the one in the middle.
        after: The same now.
    """

    producer: str
    consumer: str
    seen: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalized:
    """What equalization did.

    Attributes:
        pairs: In the order in which they run.
        blocked: Layers whose outputs stay as they are, and why.
        rounds: Walks over all pairs until nothing moved; 0 where the model was even already, and its copy equals it.
    """

    pairs: tuple[Pair, ...]
    blocked: tuple[Blocked, ...]
    rounds: int

    def chains(self) -> tuple[tuple[str, ...], ...]:
        """Layers that follow each other, joined: ``conv, depthwise, conv`` for its two pairs."""
        chains: dict[str, tuple[str, ...]] = {}
        for pair in self.pairs:
            chains[pair.consumer] = (*chains.pop(pair.producer, (pair.producer,)), pair.consumer)
        return tuple(chains.values())

    def widest(self) -> tuple[Pair, ...]:
        """The pairs again, the most uneven first."""
        return tuple(sorted(self.pairs, key=lambda pair: -pair.before))


def equalize(source: Path, output: Path, rule: Rule | None = None) -> Equalized:
    """Scale the channels between layers against each other, so that they share a range better.

    A channel is divided by a number where a layer gives it, and multiplied with it where the next one reads it. Between
    them stand only operators that give twice as much for twice as much (ReLU, not ReLU6), so that all answers stay but
    for float32's rounding.

    Args:
        source: A float .tflite or .onnx file.
        output: The float file to write, whole or not at all. An .onnx file comes out as the quantizer wants it: batch
            normalization in the weights, constants folded.
        rule: By how much; ``ByWeights`` unless told otherwise.

    Raises:
        ModelLoadError: The file can't be parsed.
        RecipeError: It is quantized already.
        UnsupportedOperatorError: An .onnx file that can't be made ready.
        OutputError: The file can't be written.
    """
    with opened(source) as file:
        found = list(file.graph().links())
        links = [link for link in found if isinstance(link, Link)]
        scaled = scale(links, rule or ByWeights())
        if scaled.rounds:
            file.store(scaled.weights, scaled.biases)
        write_bytes(output, file.content() if scaled.rounds else source.read_bytes())
    changes = zip(links, scaled.before, scaled.after, strict=True)
    return Equalized(
        pairs=tuple(_pair(link, before, after) for link, before, after in changes),
        blocked=tuple(entry for entry in found if isinstance(entry, Blocked)),
        rounds=scaled.rounds,
    )


def channel_reaches(source: Path, samples: Iterable[Feeds]) -> ByActivations:
    """The rule that makes even what samples make of a model; raises as ``equalize`` and ``observe_reaches``."""
    with opened(source) as file:
        axes = {link.seen: link.producer.axis for link in file.graph().links() if isinstance(link, Link)}
    return ByActivations(reaches=observe_reaches(source, axes, samples) if axes else {})


def _pair(link: Link, before: float, after: float) -> Pair:
    return Pair(producer=link.producer.name, consumer=link.consumer.name, seen=link.seen, before=before, after=after)
