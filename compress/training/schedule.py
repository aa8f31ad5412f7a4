"""How the learning rate runs through a training."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CosineSchedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine down to 0 (Loshchilov & Hutter 2017, SGDR, without restarts).

    Attributes:
        peak: Learning rate at the end of the warm-up, > 0.
        steps: Of the whole training, at least 1.
        warmup_steps: Of them, how many rise; fewer than ``steps``.
    """

    peak: float
    steps: int
    warmup_steps: int

    @classmethod
    def of(cls, *, peak: float, steps: int, warmup: float) -> CosineSchedule:
        """Give the warm-up as a share of all steps, 0 to below 1."""
        return cls(peak=peak, steps=steps, warmup_steps=min(steps - 1, round(steps * warmup)))

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0; never 0 before the end, so that each step moves something."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.peak * (1 + math.cos(math.pi * min(done, 1.0))) / 2
