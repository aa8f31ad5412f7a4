"""Weights rounded so that a layer's outputs move least, and not each weight by itself.

Frantar et al. 2022, "GPTQ" (arXiv:2210.17323, section 3.2): weights are rounded one after the other, and those that
follow make up for what was lost, as far as their inputs go together. Then, weight by weight, each takes the integer
that is best beside all the others (coordinate descent), which can only lower the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.convert.quantization.grid import Grid

    Floats = NDArray[np.float64]

__all__ = ["added_error", "nearest", "round_together"]

_MOST_SWEEPS = 8
# Of the mean variance of the inputs; more keeps weights nearer to what they were.
_DAMPING = 1e-3
_LEAST = np.finfo(np.float32).tiny


def nearest(weights: Floats, grid: Grid) -> Floats:
    """Each weight by itself; as ``round_together``."""
    return grid.place(weights, grid.best_scales(weights))


def round_together(weights: Floats, covariance: Floats, grid: Grid) -> Floats:
    """Round the weights of a layer, which is one matrix product for each of its groups.

    Args:
        weights: [groups, outputs, inputs].
        covariance: Of the inputs, [groups, inputs, inputs].
        grid: What to round to; of its ends, each output takes the one that costs it least. Its largest weight lies
            there, and stays there.

    Returns:
        Weights on the grid, shaped alike; never worse than ``nearest`` by ``added_error``.
    """
    damped = covariance + np.eye(covariance.shape[-1]) * _damping(covariance)
    way = _Way(damped)
    scales = grid.scales(weights, grid.ends[0])
    best = _started(_Lattice(weights, grid, scales), way)
    for end in grid.ends[1:]:
        others = grid.scales(weights, end)
        found = _started(_Lattice(weights, grid, others), way)
        better = (way.cost(weights, found) < way.cost(weights, best))[..., None]
        best, scales = np.where(better, found, best), np.where(better, others, scales)
    return _settled(_Lattice(weights, grid, scales), best, damped)


def added_error(weights: Floats, rounded: Floats, covariance: Floats) -> Floats:
    """The variance that rounding adds to each output, [groups, outputs]."""
    off = weights - rounded
    return np.asarray(((off @ covariance) * off).sum(axis=-1))


def _damping(covariance: Floats) -> Floats:
    mean = np.einsum("gii->gi", covariance).mean(axis=-1)
    return np.asarray(np.maximum(_DAMPING * mean, _LEAST)[:, None, None])


class _Lattice:
    """Where weights may go: on a grid of some scales, [groups, outputs, 1]; the largest of each output stays."""

    def __init__(self, weights: Floats, grid: Grid, scales: Floats) -> None:
        self.weights, self._grid, self._scales = weights, grid, scales
        self._fixed = np.abs(weights) >= np.abs(weights).max(axis=-1, keepdims=True)

    def place(self, at: NDArray[np.intp], wanted: Floats) -> Floats:
        """For one input of each group, [groups], the nearest allowed values to some, [groups, outputs]."""
        groups, scales = np.arange(len(at)), self._scales[..., 0]
        fixed = self._fixed[groups, :, at]
        return self._grid.place(np.where(fixed, self.weights[groups, :, at], wanted), scales)

    def nearest(self) -> Floats:
        """Each weight by itself."""
        return self._grid.place(self.weights, self._scales)


class _Way:
    """In which order inputs are gone through, those that vary most first, and what those that follow can make up for.

    Args:
        covariance: Of the inputs, [groups, inputs, inputs], positive definite.
    """

    def __init__(self, covariance: Floats) -> None:
        self._covariance = covariance
        self.order = order = np.argsort(-np.einsum("gii->gi", covariance), axis=1)
        sorted_ = np.take_along_axis(np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2)
        self.ahead = np.linalg.cholesky(np.linalg.inv(sorted_)).transpose(0, 2, 1)

    def cost(self, weights: Floats, rounded: Floats) -> Floats:
        """As ``added_error``."""
        return added_error(weights, rounded, self._covariance)


def _started(lattice: _Lattice, way: _Way) -> Floats:
    start, plain = _compensated(lattice, way), lattice.nearest()
    better = way.cost(lattice.weights, start) < way.cost(lattice.weights, plain)
    return np.where(better[..., None], start, plain)


def _compensated(lattice: _Lattice, way: _Way) -> Floats:
    """What each weight loses, those that follow it make up for."""
    groups, order, ahead = np.arange(len(way.order)), way.order, way.ahead
    left = np.take_along_axis(lattice.weights, order[:, None, :], 2)
    rounded = np.empty_like(lattice.weights)
    for step in range(order.shape[1]):
        at = order[:, step]
        found = lattice.place(at, left[..., step])
        rounded[groups, :, at] = found
        lost = (left[..., step] - found) / ahead[:, None, step, step]
        left[..., step:] -= lost[..., None] * ahead[:, None, step, step:]
    return rounded


def _settled(lattice: _Lattice, rounded: Floats, covariance: Floats) -> Floats:
    """Move each weight to where it is best beside the others, until none moves."""
    every = np.arange(len(covariance))
    slope = (lattice.weights - rounded) @ covariance
    for _ in range(_MOST_SWEEPS):
        moved = False
        for input_ in range(covariance.shape[-1]):
            at = np.full(len(covariance), input_)
            best = lattice.place(at, rounded[..., input_] + slope[..., input_] / covariance[:, None, input_, input_])
            step = best - rounded[every, :, at]
            if step.any():
                rounded[..., input_] = best
                slope -= step[..., None] * covariance[:, None, input_]
                moved = True
        if not moved:
            break
    return rounded
