"""Layer names that tf_keras accepts, each of them once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Names"]

# A layer's name becomes a name scope of TensorFlow, which takes fewer characters than Keras 3 does.
_FOREIGN = re.compile(r"[^A-Za-z0-9_.\\>-]")
_FOREIGN_START = re.compile(r"^[^A-Za-z0-9.]")


class Names:
    """The names that are taken in one model and all models within it."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._given: set[str] = set()

    @staticmethod
    def legal(name: str) -> str:
        """The name itself, or the nearest one that is a name scope of TensorFlow."""
        cleaned = _FOREIGN.sub("_", name)
        return _FOREIGN_START.sub("layer_", cleaned) or "layer"

    def own(self, name: str) -> str:
        """A name for what stands in for the layer ``name``; numbered from the second time on."""
        legal = self.legal(name)
        if legal in self._given:
            return self.further(legal)
        self._given.add(legal)
        return legal

    def further(self, name: str) -> str:
        """A name for a layer that the source does not have."""
        legal = candidate = self.legal(name)
        number = 0
        while candidate in self._given or candidate in self._taken:
            number += 1
            candidate = f"{legal}_{number}"
        self._given.add(candidate)
        return candidate
