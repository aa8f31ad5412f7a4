"""Operations that make detections: of raw boxes that overlap, and of boxes that the model has sorted out itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from tinsmith.runtime.box import Box
from tinsmith.runtime.errors import ModelError
from tinsmith.runtime.operation import check_choice, check_count, check_numbers
from tinsmith.runtime.postprocessing.answers import Detection, Detections, Numbers
from tinsmith.runtime.postprocessing.operation import Operation, output_named
from tinsmith.runtime.postprocessing.suppression import suppress_by_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tinsmith.runtime.postprocessing.answers import Answer

    Real = NDArray[np.float64]

__all__ = ["Boxes", "Detected"]

_FORMATS = ("xyxy", "yxyx", "cxcywh")
Format = Literal["xyxy", "yxyx", "cxcywh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes(Operation):
    """Detections of raw boxes, such as those of YOLO: each box counts for its best class, and NMS runs class by class.

    Attributes:
        boxes: The output that holds them, [boxes, 4 + classes], or [boxes, 4] where ``scores`` is named; None for the
            only output.
        scores: The output with the scores [boxes, classes]; None where they stand behind the boxes' four numbers.
        format: What the four numbers are: two corners as ``xyxy`` or ``yxyx``, or ``cxcywh`` for the middle, the width
            and the height.
        height: The picture's height in the boxes' own unit: 1 for fractions, else the model's in pixels.
        width: The same for the width.
        transposed: Whether the axes are swapped, [4 + classes, boxes], as YOLOv8 and later give them.
        objectness: Whether a fifth number says how sure the model is that there is anything, as in YOLOv5 and YOLOX;
            each class's score is multiplied by it.
        score_threshold: The lowest score that stays.
        iou_threshold: The largest intersection over union at which two boxes of a class may both stay.
        max_detections: How many stay at most.
    """

    kind: ClassVar[str] = "boxes"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = {Numbers: Detections}

    boxes: str | None = None
    scores: str | None = None
    format: Format = "cxcywh"
    height: float = 1.0
    width: float = 1.0
    transposed: bool = False
    objectness: bool = False
    score_threshold: float = 0.25
    iou_threshold: float = 0.45
    max_detections: int = 100

    def __post_init__(self) -> None:
        check_choice(self, _FORMATS, format=self.format)
        _check_size(self, self.height, self.width)
        check_numbers(self, score_threshold=self.score_threshold, iou_threshold=self.iou_threshold)
        check_count(self, max_detections=self.max_detections)
        if not 0 <= self.iou_threshold <= 1:
            raise self.refuse(f"iou_threshold must lie between 0 and 1, not at {self.iou_threshold}")
        for name in ("transposed", "objectness"):
            if not isinstance(getattr(self, name), bool):
                raise self.refuse(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.scores is not None and self.boxes is None:
            raise self.refuse("it names the output with the scores, but not the one with the boxes")

    def apply(self, answer: Answer) -> Detections:
        """Decode, leave out what scores too little, suppress, and sort."""
        corners, scores = self._read(answer)
        if np.isnan(scores).any():
            raise ModelError("boxes: the model's scores hold NaN")
        classes = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), classes]
        likely = np.flatnonzero(best >= self.score_threshold)
        edges = _edges(self, corners[likely], self.format, (self.height, self.width))
        kept = suppress_by_class(
            edges, best[likely], classes[likely], iou_threshold=self.iou_threshold, most=self.max_detections
        )
        return _detections(edges[kept], classes[likely][kept], best[likely][kept])

    def _read(self, answer: Answer) -> tuple[Real, Real]:
        """The four numbers of each box, and its score a class."""
        table = self._table(answer, self.boxes)
        if self.scores is None:
            corners, rest = table[:, :4], table[:, 4:]
        else:
            corners, rest = table, self._table(answer, self.scores)
        sure, scores = (rest[:, :1], rest[:, 1:]) if self.objectness else (1.0, rest)
        if corners.shape[1] != 4 or len(corners) != len(scores) or not scores.shape[1]:
            raise self.refuse(
                f"boxes of shape {list(corners.shape)} and scores of shape {list(scores.shape)} do not belong together"
            )
        return corners, scores * sure

    def _table(self, answer: Answer, name: str | None) -> Real:
        array = output_named(self, answer, name)
        if array.ndim != 2:
            raise self.refuse(f"an output of shape {list(array.shape)} is no table of boxes")
        return array.T if self.transposed else array


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected(Operation):
    """Detections that the model has decoded and suppressed itself, such as by TFLite_Detection_PostProcess.

    Attributes:
        boxes: The output with the boxes, [detections, 4].
        classes: The output with the numbers of their classes, [detections].
        scores: The output with their scores, [detections].
        count: The output that says how many of them count; None where all do.
        format: As in ``boxes``.
        height: As in ``boxes``.
        width: As in ``boxes``.
    """

    kind: ClassVar[str] = "detections"
    moves: ClassVar[Mapping[type[Answer], type[Answer]]] = {Numbers: Detections}

    boxes: str
    classes: str
    scores: str
    count: str | None = None
    format: Format = "yxyx"
    height: float = 1.0
    width: float = 1.0

    def __post_init__(self) -> None:
        check_choice(self, _FORMATS, format=self.format)
        _check_size(self, self.height, self.width)

    def apply(self, answer: Answer) -> Detections:
        """Read and sort them.

        Raises:
            DataError: The outputs' shapes do not belong together, or class numbers and count are no whole numbers.
        """
        corners = output_named(self, answer, self.boxes)
        classes, scores = (output_named(self, answer, name) for name in (self.classes, self.scores))
        if corners.shape != (len(scores) if scores.ndim else 0, 4) or classes.shape != scores.shape:
            raise self.refuse(
                f"boxes of shape {list(corners.shape)}, classes of {list(classes.shape)} and scores of "
                f"{list(scores.shape)} do not belong together"
            )
        count = self._count(answer, len(scores))
        if not _whole(classes[:count]):
            raise self.refuse(f"the output {self.classes!r} holds no class numbers", "it may be the output of scores")
        if np.isnan(scores[:count]).any():
            raise ModelError("detections: the model's scores hold NaN")
        order = np.argsort(-scores[:count], kind="stable")
        edges = _edges(self, corners[order], self.format, (self.height, self.width))
        return _detections(edges, classes[order].astype(np.intp), scores[order])

    def _count(self, answer: Answer, most: int) -> int:
        if self.count is None:
            return most
        count = output_named(self, answer, self.count)
        if count.size != 1 or not _whole(count) or count.max() > most:
            raise self.refuse(f"the output {self.count!r} does not say how many of {most} detections count")
        return int(count.max())


def _check_size(operation: Operation, height: float, width: float) -> None:
    check_numbers(operation, height=height, width=width)
    if min(height, width) <= 0:
        raise operation.refuse("height and width must be above zero", "1 for boxes in fractions of the picture")


def _edges(operation: Operation, corners: Real, form: Format, size: tuple[float, float]) -> Real:
    """Top, left, bottom and right in fractions of the picture; corners in either order."""
    if not np.isfinite(corners).all():
        raise ModelError(f"{operation.kind}: the model's boxes hold NaN or infinity")
    if form == "cxcywh":
        middle, half = corners[:, 1::-1], corners[:, :1:-1] / 2
        one, other = middle - half, middle + half
    elif form == "xyxy":
        one, other = corners[:, 1::-1], corners[:, :1:-1]
    else:
        one, other = corners[:, :2], corners[:, 2:]
    edges: Real = np.hstack([np.minimum(one, other), np.maximum(one, other)]) / np.asarray([*size, *size])
    return edges


def _detections(edges: Real, classes: NDArray[np.intp], scores: Real) -> Detections:
    return Detections(
        found=tuple(
            Detection(box=Box(top=top, left=left, bottom=bottom, right=right), index=index, score=score)
            for (top, left, bottom, right), index, score in zip(
                edges.tolist(), classes.tolist(), scores.tolist(), strict=True
            )
        )
    )


def _whole(numbers: Real) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers >= 0).all() and (numbers == np.rint(numbers)).all())
