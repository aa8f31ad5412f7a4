"""Which layers of two models are the same by what they are computed from, where names do not tell.

A converter may name every tensor anew and run branches in another order. What stays is the structure: a layer is known
by its operator and shapes, by what takes it, and by the layers that feed it, down to tensors that are matched already
(the refinement of Weisfeiler and Leman 1968, on a graph without circles).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from tinsmith.convert.layers.wiring import Node, Wiring

__all__ = ["match_by_structure"]

Names = dict["Hashable", int]


def match_by_structure(reference: Wiring, other: Wiring, named: Mapping[str, str]) -> dict[str, str]:
    """Match layers whose structure is the same in both models, until no more are found.

    Args:
        reference: The float model.
        other: What became of it.
        named: What is matched already: tensors of the float model, and what later layers get in their place.

    Returns:
        What was found besides; of layers with the same structure, as many as both models have.
    """
    found = dict(named)
    while True:
        fresh = _deep(reference, other, found) or _unique(reference, other, found)
        if not fresh:
            return {name: face for name, face in found.items() if name not in named}
        found.update(fresh)


def _deep(reference: Wiring, other: Wiring, found: Mapping[str, str]) -> dict[str, str]:
    known: Names = {}
    marks = {name: at for at, name in enumerate(found)}, {face: at for at, face in enumerate(found.values())}
    ours = _signatures(reference, marks[0], known)
    theirs = _signatures(other, marks[1], known)
    return _paired(reference, other, found, (ours, theirs))


def _unique(reference: Wiring, other: Wiring, found: Mapping[str, str]) -> dict[str, str]:
    """One layer of a kind on both sides; which are then known, and may tell of others."""
    known: Names = {}
    kinds = [
        {name: known.setdefault(_kind(wiring, node), len(known)) for node in wiring.nodes for name in node.outputs}
        for wiring in (reference, other)
    ]
    return _paired(reference, other, found, (kinds[0], kinds[1]), most=1)


def _signatures(wiring: Wiring, marks: Mapping[str, int], known: Names) -> dict[str, int]:
    """A number a tensor; equal for equal structures, in both models that share ``known``."""
    numbers: dict[str, int] = {}
    for name in wiring.inputs:
        numbers[name] = _number(("matched", marks.get(name)), known)
    for node in wiring.nodes:
        given = tuple(sorted(numbers[name] for name in node.inputs))
        for at, name in enumerate(node.outputs):
            if name in marks:
                numbers[name] = _number(("matched", marks[name]), known)
            elif node.passes_on:
                numbers[name] = numbers[node.inputs[0]]
            else:
                key = (*_kind(wiring, node), _taken_by(wiring, node), at, given)
                numbers[name] = _number(key, known)
    return numbers


def _number(key: Hashable, known: Names) -> int:
    return known.setdefault(key, len(known))


def _kind(wiring: Wiring, node: Node) -> tuple[Hashable, ...]:
    return node.operator, wiring.values[node.outputs[0]].shape[1:], node.kernel


def _taken_by(wiring: Wiring, node: Node) -> tuple[str, ...]:
    return tuple(sorted(taker.operator for taker in wiring.consumers.get(wiring.settled(node.outputs[0]), [])))


def _paired(
    reference: Wiring,
    other: Wiring,
    found: Mapping[str, str],
    numbers: tuple[Mapping[str, int], Mapping[str, int]],
    *,
    most: int | None = None,
) -> dict[str, str]:
    faces = set(found.values())
    ours = _groups(reference, numbers[0], (name for name in _ends(reference) if name not in found))
    theirs = _groups(other, numbers[1], (name for name in _ends(other) if other.face(name) not in faces))
    pairs: dict[str, str] = {}
    for number, names in ours.items():
        facing = theirs.get(number, [])
        if len(names) == len(facing) and (most is None or len(names) <= most):
            pairs.update(zip(names, map(other.face, facing), strict=True))
    return {name: face for name, face in pairs.items() if _comparable(reference, other, name, face)}


def _ends(wiring: Wiring) -> Iterable[str]:
    """The tensor that each layer ends in, behind activations and roundings of its own."""
    layers = [node for node in wiring.nodes if not node.passes_on]
    return dict.fromkeys(wiring.settled(name) for node in layers for name in node.outputs)


def _groups(wiring: Wiring, numbers: Mapping[str, int], names: Iterable[str]) -> dict[int, list[str]]:
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for name in names:
        groups[numbers[wiring.computed(name)]].append(name)
    return groups


def _comparable(reference: Wiring, other: Wiring, name: str, face: str) -> bool:
    return reference.values[name].stands_for_reals and other.values[face].stands_for_reals
