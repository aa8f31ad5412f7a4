"""Tails of the distributions that the monitor's tests follow under chance alone, on the standard library."""

from __future__ import annotations

import functools
import math

__all__ = ["binomial_tail", "chi_square_limit", "chi_square_tail", "kolmogorov_limit"]


def chi_square_tail(value: float, degrees: int) -> float:
    """How likely chi-square is beyond ``value``; exact for whole degrees of freedom.

    Abramowitz and Stegun, 26.4.4 and 26.4.5: a finite sum, from 1 or 2 degrees upward in steps of 2.

    Args:
        value: 0 or more.
        degrees: 1 or more.
    """
    half = value / 2
    if degrees % 2:
        tail, term = math.erfc(math.sqrt(half)), math.sqrt(half / math.pi) * 2 * math.exp(-half)
    else:
        tail, term = math.exp(-half), half * math.exp(-half)
    for reached in range(2 - degrees % 2, degrees, 2):
        tail += term
        term *= half / (reached / 2 + 1)
    return tail


@functools.lru_cache(maxsize=1024)
def chi_square_limit(tail: float, degrees: int) -> float:
    """The value that chi-square passes with probability ``tail``, by bisection.

    Args:
        tail: Above 0, below 1.
        degrees: 1 or more.
    """
    low, high = 0.0, 1.0
    while chi_square_tail(high, degrees) > tail:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if chi_square_tail(middle, degrees) > tail else (low, middle)
    return high


def kolmogorov_limit(tail: float) -> float:
    """The value that the supremum of a Brownian bridge passes with probability ``tail`` or less.

    The first term of Kolmogorov's series, 2 exp(-2 x²), lies above the whole of it; so the limit errs to the safe side.
    """
    return math.sqrt(-math.log(tail / 2) / 2)


def binomial_tail(least: int, trials: int, chance: float) -> float:
    """How likely ``least`` or more of ``trials`` come out, each with ``chance`` between 0 and 1, both excluded."""
    if least <= 0:
        return 1.0
    yes, no, whole = math.log(chance), math.log1p(-chance), math.lgamma(trials + 1)
    logs = (
        whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * yes + (trials - k) * no
        for k in range(least, trials + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))
