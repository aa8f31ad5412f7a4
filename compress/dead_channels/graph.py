"""A model as the analysis sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.dead_channels.layers import Linear, PerChannel
from tinsmith.compress.dead_channels.nodes import Opaque, Rearrangement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.nodes import Node
    from tinsmith.compress.dead_channels.ranges import Ranges

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]

__all__ = ["Graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes in an order in which each comes after those it reads.

    Attributes:
        nodes: Each makes one value.
        outputs: Values that the model's users see; none of their channels goes.
        groups: Of some values, a number a channel: equal ones only go together, and negative ones stay.
    """

    nodes: tuple[Node, ...]
    outputs: frozenset[str]
    groups: Mapping[str, Places] = field(default_factory=dict)

    def ranges(self) -> dict[str, Ranges]:
        """What each value can be."""
        found: dict[str, Ranges] = {}
        for node in self.nodes:
            found[node.output] = node.ranges([found[name] for name in node.inputs])
        return found

    def gains(self, ranges: Mapping[str, Ranges]) -> dict[str, Floats]:
        """How much an error of each channel weighs in the sum of the errors of all output channels, at the most."""
        found = {name: np.full(len(r.center), float(name in self.outputs)) for name, r in ranges.items()}
        for node in reversed(self.nodes):
            given = node.gains(found[node.output], [ranges[name] for name in node.inputs])
            for name, gain in zip(node.inputs, given, strict=True):
                found[name] = found[name] + gain
        return found

    def not_followed(self) -> dict[str, str]:
        """Why channels around a node are kept, by its name."""
        found = {}
        for node in self.nodes:
            if isinstance(node, Opaque | Rearrangement):
                found[node.name] = node.reason
            elif isinstance(node, Linear | PerChannel) and node.fixed:
                found[node.name] = node.fixed
        return found
