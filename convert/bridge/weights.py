"""Carrying the weights of one layer over to its twin, matched by name and shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.convert.bridge.engines import numpy_of
from tinsmith.convert.bridge.obstacles import Obstacle, RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["carry_over"]


def carry_over(pairs: Iterable[tuple[Any, Any]]) -> list[Obstacle]:
    """Give every layer of tf_keras the weights of its source.

    Args:
        pairs: A layer of Keras 3 and the built layer of tf_keras that stands in for it.

    Returns:
        Each layer whose weights don't fit, which is a defect of the bridge, not of the model.
    """
    found = (_attempt(source, target) for source, target in pairs)
    return [obstacle for obstacle in found if obstacle is not None]


def _attempt(source: Any, target: Any) -> Obstacle | None:
    try:
        _carry(source, target)
    except RefusalError as refusal:
        return Obstacle.of(source, refusal)
    return None


def _carry(source: Any, target: Any) -> None:
    for theirs, ours in _matched(source, target):
        if tuple(theirs.shape) != tuple(ours.shape):
            raise RefusalError(f"has the weight {theirs.path} of shape {theirs.shape}, but tf_keras has {ours.shape}")
        ours.assign(numpy_of(theirs))


def _matched(source: Any, target: Any) -> list[tuple[Any, Any]]:
    """Pairs of weights: by name, and those whose names differ by order."""
    left = [(_key(weight.path, source.name), weight) for weight in source.weights]
    pairs, unmatched = [], []
    for weight in target.weights:
        name = _key(weight.name.removesuffix(":0"), target.name)
        index = next((i for i, (key, _) in enumerate(left) if key == name), None)
        if index is None:
            unmatched.append(weight)
        else:
            pairs.append((left.pop(index)[1], weight))
    if len(left) != len(unmatched):
        raise RefusalError(f"has {len(source.weights)} weights, but tf_keras has {len(target.weights)}")
    return pairs + [(weight, ours) for (_, weight), ours in zip(left, unmatched, strict=True)]


def _key(path: str, layer: str) -> str:
    """What two weights have in common that play the same part: their own name, and that of the part they are in."""
    *parents, leaf = path.split("/")
    parent = parents[-1] if parents else layer
    return leaf if parent == layer else f"{parent}/{leaf}"
