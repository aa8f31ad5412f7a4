"""The recovery ladder: when a quantized model misses its budget, what to try next, from the cheapest to the dearest."""

from __future__ import annotations

from tinsmith.compress.recovery.costs import OperatorCost, operators_by_cost, worst_operators
from tinsmith.compress.recovery.ladder import Climb, Limits
from tinsmith.compress.recovery.recovering import LEAST_VALIDATION, Ground, Recovery, recover
from tinsmith.compress.recovery.trials import Trial

__all__ = [
    "LEAST_VALIDATION",
    "Climb",
    "Ground",
    "Limits",
    "OperatorCost",
    "Recovery",
    "Trial",
    "operators_by_cost",
    "recover",
    "worst_operators",
]
