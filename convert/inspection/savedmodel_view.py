"""What a SavedModel's files say, read without TensorFlow.

Field numbers: tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto and
tensorflow/python/keras/protobuf/saved_metadata.proto.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING

from tinsmith.convert.inspection.text import plain
from tinsmith.convert.inspection.trained_view import TrainedView
from tinsmith.convert.inspection.wire import Message
from tinsmith.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["view_savedmodel"]

_DEFAULT_SIGNATURE = "serving_default"
# tensorflow/core/framework/types.proto: number, numpy's name, bytes
_TYPES = {
    1: ("float32", 4), 2: ("float64", 8), 3: ("int32", 4), 4: ("uint8", 1), 5: ("int16", 2), 6: ("int8", 1),
    7: ("str", 0), 9: ("int64", 8), 10: ("bool", 1), 14: ("bfloat16", 2), 17: ("uint16", 2), 19: ("float16", 2),
    22: ("uint32", 4), 23: ("uint64", 8),
}  # fmt: skip
_MOST_AXES = 64  # numpy's limit; a variable with more is no variable
_REAL = {"float32", "float64", "float16", "bfloat16"}
# Operators that run Python or touch files when the graph runs.
_UNSAFE = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile"}
# What Keras hangs on a model beside its layers: training state and metrics.
_NOT_THE_MODEL = {"optimizer", "keras_api", "signatures", "metrics", "loss_tracker"}


def view_savedmodel(path: Path) -> TrainedView:
    """Read a SavedModel's graph, signature and the list of its variables.

    Raises:
        Exception: Anything at all, if the file is damaged; the caller translates it.
    """
    saved = Message((path / "saved_model.pb").read_bytes())
    metas = list(saved.messages(2))
    if not metas:
        raise ValueError("saved_model.pb holds no graph")
    layers = _layers(path, metas[0])
    operators = Counter(node.text(2) for meta in metas for node in _nodes(meta))
    counted = layers or operators
    variables = list(_variables(metas[0]))
    inputs, outputs = _signature(metas[0])
    return TrainedView(
        writer=f"TensorFlow {plain(metas[0].message(1).text(5)) or 'unknown'}",
        kind="layer" if layers else "operator",
        layers=tuple((plain(name), count) for name, count in counted.most_common()),
        parameters=sum(count for count, _ in variables) if variables else None,
        weight_bytes=sum(size for _, size in variables) if variables else None,
        inputs=inputs,
        outputs=outputs,
        unsafe=tuple(sorted({op for op in operators if op in _UNSAFE} | {"Lambda" for n in layers if n == "Lambda"})),
    )


def _nodes(meta: Message) -> Iterator[Message]:
    """The nodes of the graph and of its functions."""
    yield from meta.messages(2, 1)
    yield from meta.messages(2, 2, 1, 3)


def _layers(path: Path, meta: Message) -> Counter[str]:
    """Keras layers by class, where Keras wrote its metadata: beside the graph, or before TF 2.5 inside it."""
    beside = path / "keras_metadata.pb"
    if beside.is_file():
        nodes = [(n.text(4), n.text(5)) for n in Message(beside.read_bytes()).messages(1)]
    else:
        nodes = [(o.text(1), o.text(3)) for o in meta.messages(7, 1, 4)]
    named = [said for identifier, said in nodes if identifier in ("_tf_keras_layer", "_tf_keras_input_layer")]
    classes = [json.loads(said).get("class_name") for said in named if said]
    return Counter(str(name) for name in classes if name)


def _variables(meta: Message) -> Iterator[tuple[int, int]]:
    """Numbers and bytes of each variable of real numbers that belongs to the model itself."""
    objects = list(meta.messages(7, 1))
    for index in _reached(objects):
        entry = objects[index]
        dtype, size = _TYPES.get(entry.message(7).number(1), ("", 0)) if entry.has(7) else ("", 0)
        if dtype in _REAL:
            lengths = [dimension.number(1) for dimension in entry.message(7).message(2).messages(2)]
            count = math.prod(lengths[:_MOST_AXES])
            yield count, count * size


def _reached(objects: list[Message]) -> set[int]:
    """The objects that hang on the model: the first object is its root."""
    seen: set[int] = set()
    waiting = [0] if objects else []
    while waiting:
        index = waiting.pop()
        if index not in seen:
            seen.add(index)
            waiting += [c.number(1) for c in objects[index].messages(1) if c.text(2) not in _NOT_THE_MODEL]
    return seen


def _signature(meta: Message) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the signature that is served, or of the only one."""
    signatures = {entry.text(1): entry.message(2) for entry in meta.messages(5)}
    real = [s for name, s in signatures.items() if not name.startswith("__")]
    chosen = signatures.get(_DEFAULT_SIGNATURE) or (real[0] if len(real) == 1 else Message(b""))
    return tuple(_specs(chosen, 1)), tuple(_specs(chosen, 2))


def _specs(signature: Message, field: int) -> Iterator[TensorSpec]:
    for entry in signature.messages(field):
        info = entry.message(2)
        lengths = [dimension.number(1) for dimension in info.message(3).messages(2)]
        yield TensorSpec(
            name=plain(entry.text(1)),
            dtype=_TYPES.get(info.number(2), ("", 0))[0],
            shape=tuple(None if n < 0 else n for n in lengths),
        )
