"""An even draw of a stream whose length nobody knows."""

from __future__ import annotations

import random

__all__ = ["Reservoir"]


class Reservoir:
    """Says which items of a stream to keep, so that each has had the same chance at any moment.

    Vitter, "Random sampling with a reservoir" (1985), algorithm R.

    Args:
        most: How many are kept.
        seed: Of the draw.
    """

    def __init__(self, most: int, *, seed: int) -> None:
        self._most = most
        self._chance = random.Random(seed)  # noqa: S311 - a draw of samples keeps no secret
        self.seen = 0

    def offer(self) -> int | None:
        """Where the next item goes: a place from 0 to ``most`` - 1, whose item it replaces; None to let it pass."""
        self.seen += 1
        if self.seen <= self._most:
            return self.seen - 1
        place = self._chance.randrange(self.seen)
        return place if place < self._most else None
