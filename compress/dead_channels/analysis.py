"""Which channels can go, and how far the outputs can move for it.

A channel that goes is read as a constant from then on. Its range says how far it may have been from that, the weights
that read it carry the difference on, and Lipschitz bounds take it to the outputs: all of this adds up, in exact
arithmetic, to a bound on the sum of the changes of all output channels. Two kinds of channels cost next to nothing:
those that hardly move, and those that hardly anything reads. Taking some away makes others unread, so it is repeated
until nothing changes; the bounds of all rounds add up.

The model without them stays inside the ranges of the whole one, so its slopes and factors are bounded by the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.dead_channels.layers import Depthwise, Linear
from tinsmith.compress.structure.coupling import Coupling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.graph import Graph

    Atoms = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]

__all__ = ["Removal", "find_dead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What can go.

    Attributes:
        kept: The places of each value's channels that stay, in order, by the value's name.
        widths: How many channels each value had.
        biases: The new bias of each linear node that has read a constant, [channels that stay], by the node's name.
        channels: Channels of convolutions and dense layers before.
        removed: How many of them go.
        bound: No output channel moves by more than this, in exact arithmetic.
        rounds: How often it was looked again.
    """

    kept: Mapping[str, Places]
    widths: Mapping[str, int]
    biases: Mapping[str, Floats]
    channels: int
    removed: int
    bound: float
    rounds: int


def find_dead(graph: Graph, bound: float) -> Removal:
    """Find channels to a fixpoint.

    Args:
        graph: Of the whole model.
        bound: The most that the sum of all output channels may move by.
    """
    whole, spent, rounds = graph, 0.0, 0
    kept = {name: np.arange(len(r.center)) for name, r in graph.ranges().items()}
    biases: dict[str, Floats] = {}
    while True:
        found = _Round(graph)
        dead, cost = found.choose(bound - spent)
        if not dead:
            break
        spent, rounds = spent + cost, rounds + 1
        stays = found.staying(dead)
        folded = {node.name for node in found.reading(stays)}
        graph = found.without(stays)
        biases |= {node.name: node.bias for node in graph.nodes if isinstance(node, Linear) and node.name in folded}
        kept = {name: places[stays[name]] for name, places in kept.items()}
    final = {node.name: node.bias for node in graph.nodes if isinstance(node, Linear) and node.name in biases}
    before, after = (_weighted_channels(g) for g in (whole, graph))
    widths = {name: len(r.center) for name, r in whole.ranges().items()}
    return Removal(
        kept=kept, widths=widths, biases=final, channels=before, removed=before - after, bound=spent, rounds=rounds
    )


class _Round:
    """One look at a graph: ranges, gains, and which channels can only go together."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._ranges = graph.ranges()
        self._gains = graph.gains(self._ranges)
        self._coupling = Coupling()
        atoms: dict[str, Atoms] = {}
        for node in graph.nodes:
            atoms[node.output] = node.couple(self._coupling, [atoms[name] for name in node.inputs])
        for name in graph.outputs:
            self._coupling.freeze(atoms[name])
        self._bind(atoms)
        self._roots = {name: self._coupling.roots(own) for name, own in atoms.items()}

    def _bind(self, atoms: Mapping[str, Atoms]) -> None:
        """Tie what the graph says goes together."""
        first: dict[int, Atoms] = {}
        for name, groups in self._graph.groups.items():
            self._coupling.freeze(atoms[name][groups < 0])
            for at in np.flatnonzero(groups >= 0):
                own = atoms[name][at : at + 1]
                self._coupling.tie(first.setdefault(int(groups[at]), own), own)

    def choose(self, budget: float) -> tuple[set[int], float]:
        """Roots that go, the cheapest first, and what they cost; those that cost nothing in a round of their own.

        What goes for nothing often makes others cheaper: these wait for the next round.
        """
        costs = self._costs()
        free = {root for root, cost in costs.items() if cost == 0}
        dead = self._spared(free)
        if dead:
            return dead, 0.0
        spent = 0.0
        chosen = set()
        for root, cost in sorted(costs.items(), key=lambda item: (item[1], item[0])):
            if cost > 0 and spent + cost <= budget:
                chosen.add(root)
                spent += cost
        dead = self._spared(chosen | free)
        return dead, sum(costs[root] for root in dead)

    def staying(self, dead: set[int]) -> dict[str, Places]:
        """The places of each value that stay."""
        gone = np.array(sorted(dead), dtype=np.int64)
        return {name: np.flatnonzero(~np.isin(roots, gone)) for name, roots in self._roots.items()}

    def reading(self, stays: Mapping[str, Places]) -> list[Linear]:
        """Linear nodes that have read a constant other than zero which is gone."""
        return [node for node in self._linear() if self._constant(node, stays).any()]

    def without(self, stays: Mapping[str, Places]) -> Graph:
        """The graph that is left, constants folded."""
        nodes = []
        for node in self._graph.nodes:
            whole = node.plus(self._constant(node, stays)) if isinstance(node, Linear) else node
            nodes.append(whole.without([stays[name] for name in node.inputs], stays[node.output]))
        groups = {name: own[stays[name]] for name, own in self._graph.groups.items()}
        return replace(self._graph, nodes=tuple(nodes), groups=groups)

    def _linear(self) -> Iterable[Linear]:
        return (node for node in self._graph.nodes if isinstance(node, Linear))

    def _constant(self, node: Linear, stays: Mapping[str, Places]) -> Floats:
        """What channels that go have added to each sum, [out]."""
        constants, _ = node.folded(self._ranges[node.inputs[0]])
        constants[stays[node.inputs[0]]] = 0.0
        return node.summed @ constants

    def _costs(self) -> dict[int, float]:
        """By how much the outputs move when a root goes, at the most; only roots that may go."""
        frozen = self._coupling.frozen
        costs = {int(root): 0.0 for roots in self._roots.values() for root in roots if int(root) not in frozen}
        for node in self._linear():
            _, errors = node.folded(self._ranges[node.inputs[0]])
            (weights,) = node.gains(self._gains[node.output], ())
            for root, error, weight in zip(self._roots[node.inputs[0]], errors, weights, strict=True):
                if int(root) in costs and error > 0 and weight > 0:
                    costs[int(root)] += float(error) * float(weight)
        return costs

    def _spared(self, dead: set[int]) -> set[int]:
        """One channel of each value stays: no engine takes a tensor of none."""
        for roots in self._roots.values():
            own = {int(root) for root in roots}
            if own and own <= dead:
                dead = dead - {min(own)}
        return dead


def _weighted_channels(graph: Graph) -> int:
    return sum(len(node.bias) for node in graph.nodes if isinstance(node, Linear | Depthwise))
