"""A row of operations on the outputs of a model."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Postprocessing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Postprocessing:
    """What turns the outputs for one sample into an answer."""
