"""Which channels must go together: the dependency graph of a tf_keras model's channels.

Each layer that makes channels (a convolution, a dense layer, the heads of an attention) gives every one of them an
atom. Going through the graph, layers hand atoms on, put them side by side (concatenation), repeat them (flatten), or
tie them to others (an addition ties the atoms at the same place). What is tied can only go together: DepGraph (Fang et
al. 2023) finds the same groups by matching layer pairs. Atoms that reach something whose use of channels is not known
are frozen, and so are the model's inputs and outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.structure.rules import FreezeError, rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Atoms = NDArray[np.int64]

__all__ = ["Call", "Channels", "Coupling", "calls_of", "couple"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """What a layer does with channels; each array holds one atom a channel.

    Attributes:
        layer: The tf_keras layer.
        taken: On the channel axis of what goes in; of the first input, where there are several.
        given: On the channel axis of what comes out.
        heads: Of an attention, one atom a head; empty for others.
    """

    layer: Any
    taken: Atoms
    given: Atoms
    heads: Atoms


class Coupling:
    """The channels of a model, and what ties them.

    Attributes:
        layers: What each layer does with channels, by its name, in topological order.
        followed_not: Why the channels around a layer are frozen, by the layer's name: the pass goes around them.
    """

    def __init__(self) -> None:
        self.layers: dict[str, Channels] = {}
        self.followed_not: dict[str, str] = {}
        self._parents: list[int] = []
        self._frozen: set[int] = set()

    def fresh(self, count: int) -> Atoms:
        """Atoms that nothing ties yet."""
        start = len(self._parents)
        self._parents += range(start, start + count)
        return np.arange(start, start + count)

    def tie(self, one: Atoms, other: Atoms) -> None:
        """Let the atoms at the same place go together."""
        for left, right in zip(one, other, strict=True):
            a, b = self._root(int(left)), self._root(int(right))
            self._parents[max(a, b)] = min(a, b)

    def freeze(self, atoms: Atoms) -> None:
        """Keep these, whatever happens."""
        self._frozen.update(int(atom) for atom in atoms)

    def roots(self, atoms: Atoms) -> Atoms:
        """One name for all atoms that go together."""
        return np.array([self._root(int(atom)) for atom in atoms], dtype=np.int64)

    @property
    def frozen(self) -> frozenset[int]:
        """The roots that stay."""
        return frozenset(self._root(atom) for atom in self._frozen)

    def _root(self, atom: int) -> int:
        while self._parents[atom] != atom:
            self._parents[atom] = self._parents[self._parents[atom]]
            atom = self._parents[atom]
        return atom


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One use of a layer.

    Attributes:
        layer: Of tf_keras.
        use: Which of the layer's uses it is, from 0.
        sources: Where its inputs come from, as (layer's name, use, output).
    """

    layer: Any
    use: int
    sources: tuple[tuple[str, int, int], ...]


@dataclass(slots=True)
class _Walk:
    """Atoms of each tensor, by (layer, use, output)."""

    coupling: Coupling
    atoms: dict[tuple[str, int, int], Any] = field(default_factory=dict)


def couple(model: Any) -> Coupling:
    """Find out which channels of a functional tf_keras model must go together.

    Args:
        model: A functional model; a sequential one is wrapped by ``functional``.
    """
    walk = _Walk(Coupling())
    for tensor in model.inputs:
        layer = tensor._keras_history.layer  # noqa: SLF001 - how Keras says where a tensor comes from
        atoms = walk.coupling.fresh(tensor.shape[-1] or 1)
        walk.coupling.freeze(atoms)
        walk.atoms[layer.name, 0, 0] = atoms
        walk.coupling.layers[layer.name] = Channels(layer=layer, taken=atoms, given=atoms, heads=_none())
    for call in calls_of(model):
        _follow(walk, call)
    for tensor in model.outputs:
        history = tensor._keras_history  # noqa: SLF001 - as above
        walk.coupling.freeze(walk.atoms[history.layer.name, history.node_index, history.tensor_index])
    return walk.coupling


def calls_of(model: Any) -> Iterable[Call]:
    """Every use of a layer in a functional model, inputs before outputs."""
    waiting = []
    for entry in model.get_config()["layers"]:
        layer = model.get_layer(entry["name"])
        for use, node in enumerate(entry["inbound_nodes"]):
            waiting.append(Call(layer=layer, use=use, sources=tuple(_sources(node))))
    known = {(tensor._keras_history.layer.name, 0) for tensor in model.inputs}  # noqa: SLF001 - as above
    while waiting:
        ready = [call for call in waiting if all((name, at) in known for name, at, _ in call.sources)]
        for call in ready:
            known.add((call.layer.name, call.use))
            yield call
        waiting = [call for call in waiting if call not in ready]


def _sources(node: Any) -> Iterable[tuple[str, int, int]]:
    """The tensors in a node's description, wherever they stand in its arguments."""
    if isinstance(node, dict):
        node = list(node.values())
    if not isinstance(node, list | tuple):
        return
    if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int) and isinstance(node[2], int):
        yield node[0], node[1], node[2]
        node = node[3:]
    for part in node:
        yield from _sources(part)


def _follow(walk: _Walk, call: Call) -> None:
    coupling, layer = walk.coupling, call.layer
    taken = [walk.atoms[source] for source in call.sources]
    earlier = coupling.layers.get(layer.name)
    try:
        found = rule_of(layer)(coupling, layer, taken, earlier)
    except FreezeError as reason:
        coupling.followed_not[layer.name] = str(reason)
        for atoms in taken:
            coupling.freeze(atoms)
        found = _frozen(coupling, layer, taken)
    if earlier is not None and len(earlier.taken) == len(found.taken):
        coupling.tie(earlier.taken, found.taken)
    coupling.layers[layer.name] = found
    outputs = layer.get_output_at(call.use)
    count = len(outputs) if isinstance(outputs, list | tuple) else 1
    for at in range(count):
        walk.atoms[layer.name, call.use, at] = found.given


def _frozen(coupling: Coupling, layer: Any, taken: list[Atoms]) -> Channels:
    shape = layer.get_output_shape_at(0)
    first = shape[0] if isinstance(shape, list) else shape
    given = coupling.fresh(first[-1] or 1)
    coupling.freeze(given)
    return Channels(layer=layer, taken=taken[0] if taken else _none(), given=given, heads=_none())


def _none() -> Atoms:
    return np.array([], dtype=np.int64)
