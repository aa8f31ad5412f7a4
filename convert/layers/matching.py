"""Which tensor of a float model became which of another one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from tinsmith.convert.layers.report import OnlyOne
from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinsmith.convert.layers.wiring import Node, Wiring

__all__ = ["Match", "Pair", "match"]

_LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One tensor that both compute.

    Attributes:
        reference: Its name in the float model.
        other: The tensor that the other model's layers get in its place.
        operators: What computes it in the float model, from the nearest tensors that are matched too.
        sources: Those tensors.
    """

    reference: str
    other: str
    operators: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Two models laid over each other.

    Attributes:
        pairs: The inputs first, then in the order in which the float model runs.
        only_reference: Operators that the other model does without.
        only_other: Operators that the float model does without.
    """

    pairs: tuple[Pair, ...]
    only_reference: tuple[OnlyOne, ...]
    only_other: tuple[OnlyOne, ...]


def match(reference: Wiring, other: Wiring) -> Match:
    """Lay two models over each other: by the names of their tensors, then by what stands between those.

    Quantizers keep names, or most of them. What is left is matched by operator and shape, in order, between the
    neighbours that are matched already.

    Raises:
        VerificationError: Less than half of the layers of the smaller model have a counterpart.
    """
    if len(reference.inputs) != len(other.inputs):
        raise _unrelated(f"one takes {len(reference.inputs)} inputs, and the other {len(other.inputs)}")
    named = _by_name(reference, other)
    named.update(_in_between(reference, other, named))
    fewest = min(len(_layers(wiring)) for wiring in (reference, other))
    computed = [name for name in named if name not in reference.inputs]
    if not computed or len(computed) < _LEAST_SHARE * fewest:
        raise _unrelated(f"{len(computed)} of {fewest} layers have a counterpart by name, or by operator and shape")
    return _laid_over(reference, other, named)


def _by_name(reference: Wiring, other: Wiring) -> dict[str, str]:
    """Ends by their place, all others by name; each tensor of the other model once."""
    found: dict[str, str] = {}
    wanted = [*zip(reference.inputs, other.inputs, strict=True)]
    wanted += [(name, name) for node in reference.nodes for name in node.outputs if name in other.values]
    if len(reference.outputs) == len(other.outputs):
        wanted += zip(reference.outputs, other.outputs, strict=True)
    taken: set[str] = set()
    for name, called in wanted:
        face = other.face(called)
        if name in found or face in taken or not _comparable(reference, other, name, face):
            continue
        found[name] = face
        taken.add(face)
    return found


def _comparable(reference: Wiring, other: Wiring, name: str, face: str) -> bool:
    values = reference.values.get(name), other.values.get(face)
    return all(value is not None and value.stands_for_reals for value in values)


def _layers(wiring: Wiring) -> list[str]:
    """The first tensor of each layer, in order."""
    return [node.outputs[0] for node in wiring.layers if node.outputs]


def _in_between(reference: Wiring, other: Wiring, named: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    ours, theirs = _layers(reference), _layers(other)
    place = {other.face(name): at for at, name in enumerate(theirs)}
    anchors = [(at, place[named[name]]) for at, name in enumerate(ours) if named.get(name) in place]
    start = (-1, -1)
    for end in (*_rising(anchors), (len(ours), len(theirs))):
        gap = ours[start[0] + 1 : end[0]], theirs[start[1] + 1 : end[1]]
        yield from _aligned(reference, other, *gap, taken=set(named.values()))
        start = end


def _rising(anchors: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Those that stand in the same order in both models: branches may run in another one."""
    last = -1
    for one, two in anchors:
        if two > last:
            last = two
            yield one, two


def _aligned(
    reference: Wiring, other: Wiring, ours: Sequence[str], theirs: Sequence[str], *, taken: set[str]
) -> Iterator[tuple[str, str]]:
    keys = [_key(reference, name) for name in ours], [_key(other, name) for name in theirs]
    for block in SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            name, face = ours[block.a + step], other.face(theirs[block.b + step])
            if face not in taken and _comparable(reference, other, name, face):
                yield name, face


def _key(wiring: Wiring, name: str) -> tuple[object, ...]:
    """What two layers must share to be taken for the same: the operator, and the shape behind the batch axis."""
    return wiring.producers[name].operator, wiring.values[name].shape[1:]


def _laid_over(reference: Wiring, other: Wiring, named: Mapping[str, str]) -> Match:
    stops, faces = frozenset(named), frozenset(named.values())
    order = [*reference.inputs, *(name for node in reference.nodes for name in node.outputs)]
    pairs, ours, theirs = [], _Rest(reference), _Rest(other)
    for name in (name for name in order if name in named):
        nodes, sources = reference.chain(name, stops)
        facing, _ = other.chain(named[name], faces)
        layers = [node for node in facing if not node.only_changes_numbers]
        ours.differ(nodes, layers)
        theirs.differ(layers, nodes)
        operators = tuple(node.operator for node in nodes)
        pairs.append(Pair(reference=name, other=named[name], operators=operators, sources=sources))
    return Match(pairs=tuple(pairs), only_reference=ours.listed(), only_other=theirs.listed())


class _Rest:
    """The layers of one model that have no counterpart."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._matched: set[int] = set()

    def differ(self, own: Sequence[Node], facing: Sequence[Node]) -> None:
        """Take off those that the other model has as well, between the same tensors."""
        left = Counter(node.operator for node in facing)
        for node in reversed(own):
            if left[node.operator] or len(own) == len(facing) == 1:
                left[node.operator] -= 1
                self._matched.add(id(node))

    def listed(self) -> tuple[OnlyOne, ...]:
        rest = [node for node in self._wiring.layers if id(node) not in self._matched]
        return tuple(OnlyOne(name=node.outputs[0], operator=node.operator) for node in rest if node.outputs)


def _unrelated(why: str) -> VerificationError:
    return VerificationError(
        f"these two are not the same model in two precisions: {why}",
        hint="give the float model that the other one was made from; compare without --layers takes any two",
    )
