"""How what a step moves is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from tinsmith.compress.passes.base import Quantity

__all__ = ["moved"]


def moved(quantities: Collection[Quantity]) -> str:
    """The quantities in their order; all but a few is shorter said by the few."""
    from tinsmith.compress.passes.base import QUANTITIES

    stay = [quantity for quantity in QUANTITIES if quantity not in quantities]
    if quantities and len(stay) <= 2:
        return "all" if not stay else f"all but {', '.join(stay)}"
    return ", ".join(quantity for quantity in QUANTITIES if quantity in quantities) or "nothing"
