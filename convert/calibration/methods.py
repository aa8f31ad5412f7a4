"""How a range is taken from what was observed: a union of small dataclasses, one a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Method", "MinMax"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MinMax:
    """From the least value seen to the greatest."""

    name: ClassVar[str] = "min-max"


Method = MinMax
