"""Where a file stores one entry a channel, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.analysis import Removal

__all__ = ["Cut", "Place", "constants_after"]


class Place(NamedTuple):
    """An input of an operator, by their numbers."""

    operator: int
    slot: int


@dataclass(frozen=True, slots=True)
class Cut:
    """An axis of a stored constant that holds one entry a channel.

    Attributes:
        place: Where it is read.
        axis: Of the constant.
        value: Whose channels they are.
    """

    place: Place
    axis: int
    value: str


def constants_after(cuts: Iterable[Cut], removal: Removal, stored: Any) -> Iterator[tuple[Place, NDArray[Any]]]:
    """Every constant that gets smaller, with what is left of it.

    Args:
        cuts: All axes of all constants.
        removal: Which channels go.
        stored: Gives the array at a place.
    """
    places: dict[Place, list[Cut]] = {}
    for found in cuts:
        if len(removal.kept[found.value]) < removal.widths[found.value]:
            places.setdefault(found.place, []).append(found)
    for place, own in places.items():
        array = stored(place)
        for found in own:
            array = np.take(array, removal.kept[found.value], axis=found.axis)
        yield place, array
