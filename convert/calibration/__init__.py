"""Calibration: what values the tensors of a float model take on real samples, found once for every engine.

=============  ===========================================================================================
feeding        samples, cut into portions that a model is run on
tflite, onnx   run a model, and show each tensor to the observer
observer       keeps statistics of each tensor: constant memory, however many samples
calibration    the outcome, which can be merged, saved and asked for the ranges of every method
=============  ===========================================================================================
"""

from __future__ import annotations

from tinsmith.convert.calibration.calibration import Calibration
from tinsmith.convert.calibration.methods import (
    METHOD_NAMES,
    Detail,
    Entropy,
    MeanSquaredError,
    Method,
    MinMax,
    MovingAverage,
    Percentile,
    method_named,
)
from tinsmith.convert.calibration.ranges import Range, Ranges, no_samples
from tinsmith.convert.calibration.saving import load_calibration, save_calibration
from tinsmith.convert.calibration.stability import Stability

__all__ = [
    "METHOD_NAMES",
    "Calibration",
    "Detail",
    "Entropy",
    "MeanSquaredError",
    "Method",
    "MinMax",
    "MovingAverage",
    "Percentile",
    "Range",
    "Ranges",
    "Stability",
    "load_calibration",
    "method_named",
    "no_samples",
    "save_calibration",
]
