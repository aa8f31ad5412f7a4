"""The recovery ladder: when a quantized model misses its budget, what to try next, from the cheapest to the dearest."""

from __future__ import annotations

from tinsmith.compress.recovery.ladder import Climb, Limits
from tinsmith.compress.recovery.recovering import Ground, Recovery, recover
from tinsmith.compress.recovery.trials import Trial

__all__ = ["Climb", "Ground", "Limits", "Recovery", "Trial", "recover"]
