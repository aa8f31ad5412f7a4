"""Which operators of a TFLite interpreter a delegate has taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Node = Mapping[str, Any]

__all__ = ["delegates", "placed"]

_DELEGATE = "DELEGATE"
_DEFAULT_DELEGATE = "xnnpack"  # the only one that an interpreter applies by itself


def delegates(nodes: Sequence[Node]) -> int:
    """How many parts of a graph delegates have taken, of the interpreter's list of nodes."""
    return sum(node["op_name"] == _DELEGATE for node in nodes)


def placed(nodes: Sequence[Node], accelerator: str, parts: int) -> Iterator[tuple[str, str]]:
    """The unit and the name of each operator of the main graph.

    An interpreter keeps the operators that a delegate took in its list, and appends one node for each part, with the
    tensors that go in and out of it. So what lies between them is what was taken.

    Args:
        nodes: As ``Interpreter._get_ops_details`` lists them: ``index``, ``op_name``, ``inputs`` and ``outputs``.
        accelerator: Whose delegate was applied first.
        parts: How many of the delegates' nodes, the first ones, are the accelerator's.
    """
    operators = [node for node in nodes if node["op_name"] != _DELEGATE]
    makers = {int(tensor): node for node in operators for tensor in node["outputs"]}
    units = {}
    for number, part in enumerate(node for node in nodes if node["op_name"] == _DELEGATE):
        unit = accelerator if number < parts else _DEFAULT_DELEGATE
        units.update(dict.fromkeys(_inside(part, makers), unit))
    for node in operators:
        yield units.get(int(node["index"]), "cpu"), str(node["op_name"])


def _inside(part: Node, makers: Mapping[int, Node]) -> set[int]:
    """The operators on the way from a part's outputs back to its inputs."""
    found: set[int] = set()
    borders = {int(tensor) for tensor in part["inputs"]}
    open_tensors = [int(tensor) for tensor in part["outputs"]]
    while open_tensors:
        tensor = open_tensors.pop()
        if tensor in borders or tensor not in makers or int(makers[tensor]["index"]) in found:
            continue
        found.add(int(makers[tensor]["index"]))
        open_tensors += [int(source) for source in makers[tensor]["inputs"]]
    return found
