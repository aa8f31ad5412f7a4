"""Greedy non-maximum suppression: of boxes that cover the same thing, keep the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Real = NDArray[np.float64]

__all__ = ["overlaps", "suppress", "suppress_by_class"]


def suppress(boxes: Real, scores: Real, *, iou_threshold: float, most: int) -> NDArray[np.intp]:
    """Keep the best box, drop what overlaps it too much, and go on with the rest.

    Greedy NMS as in Neubeck and Van Gool, Efficient Non-Maximum Suppression, ICPR 2006.

    Args:
        boxes: [boxes, 4], each top, left, bottom, right.
        scores: [boxes]; of equal ones the first wins.
        iou_threshold: The largest intersection over union, 0 to 1, at which two boxes may both stay.
        most: How many to keep at most.

    Returns:
        The kept boxes' numbers, the best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[overlaps(boxes[best], boxes[rest]) <= iou_threshold]
    return np.asarray(kept, dtype=np.intp)


def suppress_by_class(
    boxes: Real, scores: Real, classes: NDArray[np.intp], *, iou_threshold: float, most: int
) -> NDArray[np.intp]:
    """``suppress`` in each class alone; the best of all classes together, the best first."""
    kept: list[np.intp] = []
    for number in np.unique(classes):
        members = np.flatnonzero(classes == number)
        kept.extend(members[suppress(boxes[members], scores[members], iou_threshold=iou_threshold, most=most)])
    found = np.sort(np.asarray(kept, dtype=np.intp))
    return found[np.argsort(-scores[found], kind="stable")][:most]


def overlaps(box: Real, others: Real) -> Real:
    """Intersection over union of one box [4] with each of others [boxes, 4], 0 to 1; 0 where both are empty."""
    top, left = np.maximum(box[0], others[:, 0]), np.maximum(box[1], others[:, 1])
    bottom, right = np.minimum(box[2], others[:, 2]), np.minimum(box[3], others[:, 3])
    shared = np.clip(bottom - top, 0, None) * np.clip(right - left, 0, None)
    united = _area(box[None]) + _area(others) - shared
    shares: Real = np.divide(shared, united, out=np.zeros_like(shared), where=united > 0)
    return shares


def _area(boxes: Real) -> Real:
    area: Real = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area
