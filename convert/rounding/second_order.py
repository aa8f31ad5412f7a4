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

    Floats = NDArray[np.float64]

__all__ = ["added_error", "nearest", "round_together"]

_MOST_SWEEPS = 8
# Of the mean variance of the inputs; more keeps weights nearer to what they were.
_DAMPING = 1e-3
_LEAST = np.finfo(np.float32).tiny


def nearest(weights: Floats, steps: int) -> Floats:
    """Each weight by itself; as ``round_together``."""
    scales = _scales(weights, steps)
    return np.asarray(np.rint(weights / scales) * scales)


def round_together(weights: Floats, covariance: Floats, steps: int) -> Floats:
    """Round the weights of a layer, which is one matrix product for each of its groups.

    Args:
        weights: [groups, outputs, inputs].
        covariance: Of the inputs, [groups, inputs, inputs].
        steps: Of the grid to either side of 0. The largest weight of each output lies at its end, and stays there.

    Returns:
        Weights on the grid, shaped alike; never worse than ``nearest`` by ``added_error``.
    """
    damped = covariance + np.eye(covariance.shape[-1]) * _damping(covariance)
    grid = _Grid(weights, steps)
    start = _compensated(grid, damped)
    plain = nearest(weights, steps)
    better = added_error(weights, start, damped) < added_error(weights, plain, damped)
    return _settled(grid, np.where(better[..., None], start, plain), damped)


def added_error(weights: Floats, rounded: Floats, covariance: Floats) -> Floats:
    """The variance that rounding adds to each output, [groups, outputs]."""
    off = weights - rounded
    return np.asarray(((off @ covariance) * off).sum(axis=-1))


def _scales(weights: Floats, steps: int) -> Floats:
    return np.asarray(np.maximum(np.abs(weights).max(axis=-1, keepdims=True) / steps, _LEAST))


def _damping(covariance: Floats) -> Floats:
    mean = np.einsum("gii->gi", covariance).mean(axis=-1)
    return np.asarray(np.maximum(_DAMPING * mean, _LEAST)[:, None, None])


class _Grid:
    """Where weights may go: on integers, but the largest of each output stays."""

    def __init__(self, weights: Floats, steps: int) -> None:
        self.weights, self.steps = weights, steps
        self.scales = _scales(weights, steps)[..., 0]
        self._fixed = np.abs(weights) >= np.abs(weights).max(axis=-1, keepdims=True)

    def place(self, at: NDArray[np.intp], wanted: Floats) -> Floats:
        """For one input of each group, [groups], the nearest allowed values to some, [groups, outputs]."""
        found = np.clip(np.rint(wanted / self.scales), -self.steps, self.steps) * self.scales
        groups = np.arange(len(at))
        own = np.rint(self.weights[groups, :, at] / self.scales) * self.scales
        return np.where(self._fixed[groups, :, at], own, found)


def _compensated(grid: _Grid, covariance: Floats) -> Floats:
    """The inputs that vary most come first; what each loses, those that follow it make up for."""
    groups = np.arange(len(covariance))
    order = np.argsort(-np.einsum("gii->gi", covariance), axis=1)
    sorted_ = np.take_along_axis(np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2)
    ahead = np.linalg.cholesky(np.linalg.inv(sorted_)).transpose(0, 2, 1)
    left = np.take_along_axis(grid.weights, order[:, None, :], 2)
    rounded = np.empty_like(grid.weights)
    for step in range(order.shape[1]):
        at = order[:, step]
        found = grid.place(at, left[..., step])
        rounded[groups, :, at] = found
        lost = (left[..., step] - found) / ahead[:, None, step, step]
        left[..., step:] -= lost[..., None] * ahead[:, None, step, step:]
    return rounded


def _settled(grid: _Grid, rounded: Floats, covariance: Floats) -> Floats:
    """Move each weight to where it is best beside the others, until none moves."""
    every = np.arange(len(covariance))
    slope = (grid.weights - rounded) @ covariance
    for _ in range(_MOST_SWEEPS):
        moved = False
        for input_ in range(covariance.shape[-1]):
            at = np.full(len(covariance), input_)
            best = grid.place(at, rounded[..., input_] + slope[..., input_] / covariance[:, None, input_, input_])
            step = best - rounded[every, :, at]
            if step.any():
                rounded[..., input_] = best
                slope -= step[..., None] * covariance[:, None, input_]
                moved = True
        if not moved:
            break
    return rounded
