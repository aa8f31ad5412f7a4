"""Layers that keep their weights while the others learn."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.runtime.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BACKBONE", "Frozen", "frozen"]

BACKBONE = "backbone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What is frozen of a model, and what it held then.

    Attributes:
        layers: With weights, in the model's order.
        weights: Theirs; batch-norm statistics are among them.
    """

    layers: tuple[Any, ...]
    weights: tuple[list[Any], ...]

    @property
    def parameters(self) -> int:
        """How many numbers are frozen."""
        return sum(array.size for arrays in self.weights for array in arrays)

    def verify(self) -> None:
        """Hold the model to it, bit by bit.

        Raises:
            VerificationError: A frozen layer has changed: it is one that changes its weights by itself.
        """
        for layer, before in zip(self.layers, self.weights, strict=True):
            if not all(np.array_equal(a, b) for a, b in zip(before, _numbers(layer), strict=True)):
                raise VerificationError(
                    f"layer {layer.name!r} ({type(layer).__name__}) was frozen, and has changed in the training",
                    hint="it changes its weights by itself, so don't freeze it",
                )


@contextlib.contextmanager
def frozen(model: Any, freeze: int | str | tuple[str, ...] | None) -> Iterator[Frozen]:
    """Freeze layers of a Keras model for as long as the block runs; afterwards the marks are as before.

    Args:
        model: Of Keras 3 or tf_keras.
        freeze: As ``FinetuneStep.freeze``; None leaves the model's own marks.

    Raises:
        UsageError: There are no such layers, or none is left to learn.
    """
    marks = [(layer, layer.trainable) for layer in _everything(model)]
    try:
        if freeze is not None:
            chosen = _chosen(_units(model), freeze)
            model.trainable = True
            for layer in chosen:
                layer.trainable = False
        kept = tuple(layer for _, layer in _units(model) if not _learns(layer, model))
        yield Frozen(layers=kept, weights=tuple(_numbers(layer) for layer in kept))
    finally:
        # a nested model's mark is passed on to its layers, which get their own back after it
        for layer, trainable in marks:
            layer.trainable = trainable


def _chosen(units: list[tuple[tuple[str, ...], Any]], freeze: int | str | tuple[str, ...]) -> list[Any]:
    layers = [layer for _, layer in units]
    if freeze == BACKBONE:
        return layers[:-1]
    if isinstance(freeze, int):
        if abs(freeze) >= len(layers):
            raise UsageError(
                f"freeze: {freeze}, but the model has {len(layers)} layers with weights, and one must learn",
                hint="freeze: -1 freezes all but the last one",
            )
        return layers[:freeze]
    patterns = (freeze,) if isinstance(freeze, str) else freeze
    for pattern in patterns:
        if not any(_matches(names, pattern) for names, _ in units):
            known = ", ".join(dict.fromkeys(name for names, _ in units for name in names))
            raise UsageError(f"no layer with weights is named {pattern!r}", hint=f"the layers are {known}")
    return [layer for names, layer in units if any(_matches(names, pattern) for pattern in patterns)]


def _matches(names: tuple[str, ...], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _units(model: Any, within: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """The layers with weights, in the model's order; each with its own name behind those of the models it lies in."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for layer in model.layers:
        names = (*within, layer.name)
        if hasattr(layer, "layers"):
            found += _units(layer, names)
        elif layer.weights:
            found.append((names, layer))
    return found


def _everything(model: Any) -> Iterator[Any]:
    """The model and all in it, what lies outside before what lies inside."""
    yield model
    for layer in [model.layer] if hasattr(model, "layer") else getattr(model, "layers", ()):
        yield from _everything(layer)


def _learns(layer: Any, model: Any) -> bool:
    return bool(model.trainable and layer.trainable_variables)


def _numbers(layer: Any) -> list[Any]:
    return [np.array(weight) for weight in layer.weights]
