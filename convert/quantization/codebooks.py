"""Weights that share a few values, and the scales on which they still do as integers.

Weight clustering leaves each layer with a codebook. Folding batch norm multiplies each channel by a factor of its own,
and the usual scale of a channel, its largest weight over 127, depends on which values the channel happens to hold: the
same value of the codebook then becomes another integer in each channel. With a scale of factor times the codebook's
largest value, it becomes the same one everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["shared_spans"]

_MOST_VALUES = 128
# A weight without a codebook holds as many values as numbers; one with few channels of few weights may look alike.
_SHARED = 0.75
# Values of a channel that lie closer than this, relative to its largest, are one: folding rounds to float32.
_SAME = 1e-5
_FITS = 1e-4
# A channel may hold values that no channel before it did, but most of its values must be known.
_KNOWN = 0.5
_ANCHORS = 4
# Of int8, to either side.
_STEPS = 127
# The largest value stays at the last integer up to half a step.
_STRETCHES = np.linspace(1, 1 + 0.4 / _STEPS, 64)


def shared_spans(weights: NDArray[np.float32], axis: int) -> NDArray[np.float32] | None:
    """Find out whether all channels of a weight are multiples of one codebook.

    Args:
        weights: Of any rank.
        axis: Of the channels.

    Returns:
        The magnitude that each channel's grid must span so that equal values of the codebook become equal integers,
        [channels]; None where there is no codebook, or every channel lies on its usual grid as it is.
    """
    channels = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    values = [_magnitudes(channel) for channel in channels]
    if sum(map(len, values)) > _SHARED * np.count_nonzero(channels) or max(map(len, values)) > _MOST_VALUES:
        return None
    if all(_on_own_grid(found) for found in values):
        return None
    order = sorted((at for at in range(len(values)) if len(values[at])), key=lambda at: (-len(values[at]), at))
    codebook = values[order[0]]
    factors = np.zeros(len(values))
    for at in order:
        factor = _factor(values[at], codebook)
        if factor is None:
            return None
        factors[at] = factor
        codebook = _joined(codebook, values[at] / factor)
    # an empty channel takes any grid
    factors[factors == 0] = factors[factors > 0].min(initial=1.0)
    if len(codebook) > _MOST_VALUES:
        return None
    return np.asarray(factors * codebook[-1] * _stretch(codebook), dtype=np.float32)


def _stretch(codebook: Array) -> float:
    """A little more room, so that no value lies halfway between two integers.

    There, the rounding of a channel's factor would decide: the same value would become one integer here and the next
    one there.
    """
    places = codebook[None] / (codebook[-1] * _STRETCHES[:, None]) * _STEPS
    halfway = np.abs(places % 1 - 0.5).min(axis=1)
    return float(_STRETCHES[np.argmax(halfway)])


def _magnitudes(channel: Array) -> Array:
    """The distinct magnitudes of a channel but 0, rising."""
    found = np.unique(np.abs(channel))
    found = found[found > 0]
    if not len(found):
        return found
    return np.asarray(found[np.concatenate([[True], np.diff(found) > _SAME * found[-1]])])


def _on_own_grid(values: Array) -> bool:
    places = values / values.max(initial=1e-300) * _STEPS
    return bool((np.abs(places - np.rint(places)) < _FITS * _STEPS).all())


def _factor(values: Array, codebook: Array) -> float | None:
    """The factor that takes the codebook onto a channel's values; None where most of them would not be in it.

    Where several do equally well, that of the largest of both; a channel on the codebook's own scale needs none.
    """
    best, known = None, _KNOWN
    for anchor in values[: -_ANCHORS - 1 : -1]:
        for candidate in codebook[::-1]:
            share = float(np.mean(_missing(values * (candidate / anchor), codebook) == 0))
            if share > known or (best is None and share >= known):
                best, known = float(anchor / candidate), share
    return best


def _missing(values: Array, codebook: Array) -> Array:
    """1 for each value that the codebook lacks, 0 for others."""
    nearest: Array = np.abs(values[:, None] - codebook[None]).min(axis=1)
    return np.asarray(nearest > _FITS * codebook[-1], dtype=np.float64)


def _joined(codebook: Array, values: Array) -> Array:
    """The codebook with what it lacked."""
    return np.asarray(np.sort(np.concatenate([codebook, values[_missing(values, codebook) == 1]])))
