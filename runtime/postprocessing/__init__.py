"""Postprocessing as data: what turns a model's outputs into an answer, on numpy alone.

The outputs of one sample go through a row of operations, each of which takes what the one before it gives::

    outputs ── output, softmax, sigmoid, binary ──→ scores ── argmax, top-k, threshold ──→ classes ── labels ──→ classes
        └── boxes, detections ──→ detections ── threshold, top-k, labels ──→ detections
"""

from tinsmith.runtime.box import Box
from tinsmith.runtime.postprocessing.answers import (
    Answer,
    Class,
    Classes,
    Detection,
    Detections,
    Numbers,
    Probabilities,
    Scores,
)
from tinsmith.runtime.postprocessing.boxes import Boxes, Detected
from tinsmith.runtime.postprocessing.classes import Argmax, Labels, Threshold, TopK
from tinsmith.runtime.postprocessing.defaults import default_postprocessing
from tinsmith.runtime.postprocessing.operation import Operation
from tinsmith.runtime.postprocessing.pipeline import Postprocessing
from tinsmith.runtime.postprocessing.scores import Binary, Output, Sigmoid, Softmax

__all__ = [
    "Answer",
    "Argmax",
    "Binary",
    "Box",
    "Boxes",
    "Class",
    "Classes",
    "Detected",
    "Detection",
    "Detections",
    "Labels",
    "Numbers",
    "Operation",
    "Output",
    "Postprocessing",
    "Probabilities",
    "Scores",
    "Sigmoid",
    "Softmax",
    "Threshold",
    "TopK",
    "default_postprocessing",
]
