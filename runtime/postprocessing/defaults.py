"""A postprocessing for a model about which nobody said anything, from facts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinsmith.runtime.postprocessing.boxes import Detected
from tinsmith.runtime.postprocessing.classes import Labels, Threshold, TopK
from tinsmith.runtime.postprocessing.pipeline import Postprocessing
from tinsmith.runtime.postprocessing.scores import Binary, Output, Sigmoid, Softmax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tinsmith.runtime.postprocessing.operation import Operation
    from tinsmith.runtime.tensors import TensorSpec

    Answers = Mapping[str, NDArray[np.generic]]

__all__ = ["default_postprocessing"]

_MOST_CLASSES = 5
_SURE = 0.5
_SLACK = 1e-3  # what rounding leaves of a sum that is 1
_TFLITE_DETECTIONS = "TFLite_Detection_PostProcess"


def default_postprocessing(
    outputs: Sequence[TensorSpec], labels: Sequence[str] = (), golden: Answers | None = None
) -> Postprocessing:
    """Choose by shapes, by how many labels there are, and by what the model gave for golden inputs.

    - One output alone has as many entries as there are labels: the five best of it, named. Softmax goes in front only
      where golden outputs leave 0 to 1, which no probability does; whether they sum to 1 does not matter, because
      labels that don't exclude each other do not.
    - Two labels, and one output alone has a single entry: the probability of the second; sigmoid in front likewise.
    - No labels: the five best only where golden outputs are probabilities that sum to 1.
    - Boxes [n, 4], classes [n], scores [n] and perhaps a count: detections, of a score of 0.5 and more. Which of two
      lists holds classes is told by golden outputs, or by the names that TFLite_Detection_PostProcess gives them.
    - Everything else: the outputs themselves.

    Args:
        outputs: What comes out, with the batch axis.
        labels: Names of classes, in the order of their numbers.
        golden: What the model gave for golden inputs, as real numbers, samples on axis 0; None where nobody ran it.
    """
    golden = golden or {}
    detected = _detected(outputs, golden)
    if detected:
        return Postprocessing(operations=(detected, Threshold(least=_SURE), *_named(labels)))
    single = [spec for spec in outputs if _entries(spec) == 1]
    if len(labels) == 2 and len(single) == 1 and len(outputs) == 1:
        return Postprocessing(operations=(*_front(single[0], outputs, golden, Sigmoid()), Binary(), *_best(labels)))
    scores = [spec for spec in outputs if _entries(spec) == len(labels) or (not labels and _sums_to_one(spec, golden))]
    if len(scores) != 1 or (_entries(scores[0]) or 0) < 2:
        return Postprocessing()
    return Postprocessing(operations=(*_front(scores[0], outputs, golden, Softmax()), *_best(labels)))


def _front(spec: TensorSpec, outputs: Sequence[TensorSpec], golden: Answers, squash: Operation) -> list[Operation]:
    """The output where there are several, and what makes probabilities of it where it needs that."""
    chosen: list[Operation] = [Output(name=spec.name)] if len(outputs) > 1 else []
    return [*chosen, squash] if _leaves(golden.get(spec.name), 0, 1) else chosen


def _best(labels: Sequence[str]) -> list[Operation]:
    return [TopK(k=min(_MOST_CLASSES, len(labels) or _MOST_CLASSES)), *_named(labels)]


def _named(labels: Sequence[str]) -> list[Operation]:
    return [Labels(names=tuple(labels))] if labels else []


def _entries(spec: TensorSpec) -> int | None:
    """How many scores one sample has; None where that is free, or more than one axis is longer than 1."""
    axes = spec.shape[1:]
    if not spec.shape or None in axes:
        return None
    longer = [n for n in axes if n is not None and n != 1]
    return None if len(longer) > 1 else (longer or [1])[0]


def _leaves(given: NDArray[np.generic] | None, low: float, high: float) -> bool:
    if given is None or given.dtype.kind != "f" or not given.size:
        return False
    real = given.astype(np.float64)
    return bool(real.min() < low - _SLACK or real.max() > high + _SLACK)


def _sums_to_one(spec: TensorSpec, golden: Answers) -> bool:
    given = golden.get(spec.name)
    entries = _entries(spec)
    if given is None or entries is None or _leaves(given, 0, 1) or given.dtype.kind != "f" or not given.size:
        return False
    # each stored integer is off by half a step at most
    step = spec.quantization.scale[0] if spec.quantization else 0.0
    sums = given.reshape(len(given), -1).sum(axis=1, dtype=np.float64)
    return bool(np.abs(sums - 1).max() <= max(_SLACK, min(0.1, entries * step / 2)))


def _detected(outputs: Sequence[TensorSpec], golden: Answers) -> Detected | None:
    boxes = [spec for spec in outputs if len(spec.shape) == 3 and spec.shape[2] == 4]
    lists = [spec for spec in outputs if len(spec.shape) == 2 and spec.shape[1] != 1]
    counts = [spec for spec in outputs if len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1)]
    if (len(boxes), len(lists)) != (1, 2) or len(counts) > 1 or len(outputs) != 3 + len(counts):
        return None
    if _leaves(golden.get(boxes[0].name), -1, 2):
        return None  # no fractions, even of boxes that jut out: pixels, and nobody said of how many
    classes = _class_numbers(lists, golden)
    if classes is None:
        return None
    scores = lists[1 - lists.index(classes)]
    count = counts[0].name if counts else None
    return Detected(boxes=boxes[0].name, classes=classes.name, scores=scores.name, count=count)


def _class_numbers(lists: Sequence[TensorSpec], golden: Answers) -> TensorSpec | None:
    """Which of two lists holds whole numbers, and so no scores."""
    whole = [spec for spec in lists if spec.name in golden and _whole(golden[spec.name])]
    named = [spec for spec in lists if spec.name == f"{_TFLITE_DETECTIONS}:1"]
    told = whole if len(whole) == 1 else named
    return told[0] if told else None


def _whole(given: NDArray[np.generic]) -> bool:
    real = given.astype(np.float64)
    return bool((real == np.rint(real)).all())
