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

from tinsmith.compress.structure.flattening import nodes_of
from tinsmith.compress.structure.rules import FreezeError, rule_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinsmith.compress.structure.rules import Rule

    Atoms = NDArray[np.int64]
    Shape = tuple[int | None, ...]

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

    @property
    def size(self) -> int:
        """How many atoms there are: each is a number below it."""
        return len(self._parents)

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
    def followed(self) -> dict[str, Channels]:
        """The layers that the pass does not go around: of the others, weights need not have one entry a channel."""
        return {name: channels for name, channels in self.layers.items() if name not in self.followed_not}

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
        taken: Shapes of what goes in.
        given: Shapes of what comes out.
    """

    layer: Any
    use: int
    sources: tuple[tuple[str, int, int], ...]
    taken: tuple[Shape, ...]
    given: tuple[Shape, ...]


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


def calls_of(model: Any) -> Iterator[Call]:
    """Every use of a layer in a functional model, inputs before outputs."""
    for node in nodes_of(model):
        outputs = node.outputs if isinstance(node.outputs, list | tuple) else [node.outputs]
        histories = [tensor._keras_history for tensor in node.keras_inputs]  # noqa: SLF001 - as above
        yield Call(
            layer=node.layer,
            use=node.layer.inbound_nodes.index(node),
            sources=tuple((h.layer.name, h.node_index, h.tensor_index) for h in histories),
            taken=tuple(tuple(tensor.shape) for tensor in node.keras_inputs),
            given=tuple(tuple(tensor.shape) for tensor in outputs),
        )


def _follow(walk: _Walk, call: Call) -> None:
    coupling, layer = walk.coupling, call.layer
    taken = [walk.atoms[source] for source in call.sources]
    earlier = coupling.layers.get(layer.name)
    try:
        found = _rule(coupling, call)(coupling, call, taken, earlier)
        outputs = [found.given for _ in call.given]
    except FreezeError as reason:
        coupling.followed_not[layer.name] = str(reason)
        if earlier is not None:
            # the layer has one form for all of its uses
            taken += [earlier.taken, earlier.given, earlier.heads]
        for atoms in taken:
            coupling.freeze(atoms)
        outputs = [_kept(coupling, shape) for shape in call.given]
        found = Channels(layer=layer, taken=taken[0] if taken else _none(), given=outputs[0], heads=_none())
    if earlier is not None and len(earlier.taken) == len(found.taken):
        coupling.tie(earlier.taken, found.taken)
    coupling.layers[layer.name] = found
    walk.atoms |= {(layer.name, call.use, at): atoms for at, atoms in enumerate(outputs)}


def _rule(coupling: Coupling, call: Call) -> Rule:
    """What a layer does with channels; one that could not be followed once never is."""
    if call.layer.name in coupling.followed_not:
        raise FreezeError(coupling.followed_not[call.layer.name])
    return rule_of(call)


def _kept(coupling: Coupling, shape: Shape) -> Atoms:
    """Channels of what a layer gives that is not followed."""
    atoms = coupling.fresh((shape[-1] if shape else None) or 1)
    coupling.freeze(atoms)
    return atoms


def _none() -> Atoms:
    return np.array([], dtype=np.int64)
