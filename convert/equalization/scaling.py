"""The scales of every link of a graph, found and applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.equalization.rules import ByActivations, ByWeights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.equalization.graph import Link
    from tinsmith.convert.equalization.rules import Rule

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.intp]

__all__ = ["Scaled", "ratio", "scale"]

_MOST_ROUNDS = 100
# The largest change of a scale that counts as none, so that a second run finds nothing to do.
_SETTLED = 1e-3
# A channel this far below the widest is left as it is: it was not seen at work, and its bias would be blown up.
_LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """New weights for a graph.

    Attributes:
        before: For each link ``ratio`` of what its rule evens out.
        after: The same with the new weights; for activations as the scales say, exact where nothing clips.
        rounds: Walks over all links until nothing moved; 0 where the first found nothing to move.
        weights: By layer, changed ones only; float32 in the layout that they had.
        biases: The same.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    rounds: int
    weights: Mapping[str, NDArray[np.float32]] = field(repr=False)
    biases: Mapping[str, NDArray[np.float32]] = field(repr=False)


def scale(links: Sequence[Link], rule: Rule) -> Scaled:
    """Scale the channels of all links, which may share layers."""
    state = _State(links)
    match rule:
        case ByWeights():
            before = tuple(ratio(state.given(link)) for link in links)
            rounds = _settle(state, links)
            after = tuple(ratio(state.given(link)) for link in links)
        case ByActivations(reaches=reaches):
            known = [_reach_of(reaches, link) for link in links]
            scales = [_evened(reach) for reach in known]
            rounds = sum(state.divide(link, by) for link, by in zip(links, scales, strict=True)) and 1
            before = tuple(map(ratio, known))
            after = tuple(ratio(reach / by) for reach, by in zip(known, scales, strict=True))
    return Scaled(before=before, after=after, rounds=int(rounds), weights=state.weights(), biases=state.biases())


def ratio(reaches: Floats) -> float:
    """How much further the widest channel reaches than the one in the middle: what most of them lose of their grid."""
    alive = reaches[reaches > 0]
    return float(alive.max() / np.median(alive)) if alive.size else 1.0


def _settle(state: _State, links: Sequence[Link]) -> int:
    fixed = [_asleep(state.given(link)) | _asleep(state.read(link)) for link in links]
    for done in range(_MOST_ROUNDS):
        moved = 0
        for link, still in zip(links, fixed, strict=True):
            given, read = state.given(link), state.read(link)
            scales = np.sqrt(np.where(still, 1.0, given) / np.where(still, 1.0, read))
            moved += state.divide(link, scales)
        if not moved:
            return done
    return _MOST_ROUNDS


def _reach_of(reaches: Mapping[str, Floats], link: Link) -> Floats:
    return np.asarray(reaches.get(link.seen, np.ones(link.producer.channels)), np.float64)


def _evened(reach: Floats) -> Floats:
    return np.where(_asleep(reach), 1.0, reach / max(reach.max(), np.finfo(np.float64).tiny))


def _asleep(reach: Floats) -> NDArray[np.bool_]:
    return np.asarray(reach <= reach.max() * _LEAST_SHARE)


class _State:
    """Weights on their way, in float64, so that many small steps add no error."""

    def __init__(self, links: Sequence[Link]) -> None:
        layers = {layer.name: layer for link in links for layer in (link.producer, link.consumer)}
        self._weights = {name: layer.weights.astype(np.float64) for name, layer in layers.items()}
        self._biases = {n: layer.bias.astype(np.float64) for n, layer in layers.items() if layer.bias is not None}
        self._changed: set[str] = set()
        self._shifted: set[str] = set()

    def given(self, link: Link) -> Floats:
        """The largest magnitude among the weights that give each channel."""
        return _largest(self._weights[link.producer.name], link.producer.gives, link.producer.channels)

    def read(self, link: Link) -> Floats:
        """The largest magnitude among the weights that read each channel."""
        return _largest(self._weights[link.consumer.name], link.reads, link.producer.channels)

    def divide(self, link: Link, scales: Floats) -> bool:
        """Divide a link's channels; says whether that changes anything."""
        if np.abs(np.log(scales)).max() <= _SETTLED:
            return False
        producer, consumer = link.producer.name, link.consumer.name
        self._weights[producer] /= scales[link.producer.gives]
        self._weights[consumer] *= scales[link.reads]
        self._changed |= {producer, consumer}
        if producer in self._biases:
            self._biases[producer] /= scales
            self._shifted.add(producer)
        return True

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The changed ones, by layer."""
        return {name: self._weights[name].astype(np.float32) for name in sorted(self._changed)}

    def biases(self) -> dict[str, NDArray[np.float32]]:
        """The changed ones, by layer."""
        return {name: self._biases[name].astype(np.float32) for name in sorted(self._shifted)}


def _largest(weights: Floats, numbers: Numbers, count: int) -> Floats:
    """The largest magnitude of the weights of each number."""
    same = tuple(axis for axis in range(weights.ndim) if numbers.shape[axis] == 1)
    found = np.zeros(count)
    least = np.abs(weights).max(axis=same, keepdims=True)
    np.maximum.at(found, np.broadcast_to(numbers, least.shape), least)
    return found
