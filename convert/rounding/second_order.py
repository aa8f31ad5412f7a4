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
    best = nearest(weights, grid)
    for end in grid.ends:
        found = _rounded(_Lattice(weights, grid, end), damped)
        better = added_error(weights, found, damped) < added_error(weights, best, damped)
        best = np.where(better[..., None], found, best)
    return best


def added_error(weights: Floats, rounded: Floats, covariance: Floats) -> Floats:
    """The variance that rounding adds to each output, [groups, outputs]."""
    off = weights - rounded
    return np.asarray(((off @ covariance) * off).sum(axis=-1))


def _damping(covariance: Floats) -> Floats:
    mean = np.einsum("gii->gi", covariance).mean(axis=-1)
    return np.asarray(np.maximum(_DAMPING * mean, _LEAST)[:, None, None])


class _Lattice:
    """Where weights may go: on a grid that ends at a share of the largest of each output, which stays there."""

    def __init__(self, weights: Floats, grid: Grid, end: float) -> None:
        self.weights, self._grid = weights, grid
        self.scales = grid.scales(weights, end)[..., 0]
        self._fixed = np.abs(weights) >= np.abs(weights).max(axis=-1, keepdims=True)

    def place(self, at: NDArray[np.intp], wanted: Floats) -> Floats:
        """For one input of each group, [groups], the nearest allowed values to some, [groups, outputs]."""
        groups = np.arange(len(at))
        own = self._grid.place(self.weights[groups, :, at], self.scales)
        return np.where(self._fixed[groups, :, at], own, self._grid.place(wanted, self.scales))

    def nearest(self) -> Floats:
        """Each weight by itself."""
        return self._grid.place(self.weights, self.scales[..., None])


def _rounded(lattice: _Lattice, damped: Floats) -> Floats:
    start, plain = _compensated(lattice, damped), lattice.nearest()
    better = added_error(lattice.weights, start, damped) < added_error(lattice.weights, plain, damped)
    return _settled(lattice, np.where(better[..., None], start, plain), damped)


def _compensated(lattice: _Lattice, covariance: Floats) -> Floats:
    """The inputs that vary most come first; what each loses, those that follow it make up for."""
    groups = np.arange(len(covariance))
    order = np.argsort(-np.einsum("gii->gi", covariance), axis=1)
    sorted_ = np.take_along_axis(np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2)
    ahead = np.linalg.cholesky(np.linalg.inv(sorted_)).transpose(0, 2, 1)
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
