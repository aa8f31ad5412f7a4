"""Calibration: what values the tensors of a float model take on real samples, found once for every engine."""

from __future__ import annotations

from tinsmith.convert.calibration.calibration import Calibration
from tinsmith.convert.calibration.methods import Method, MinMax
from tinsmith.convert.calibration.ranges import Range, Ranges, no_samples

__all__ = ["Calibration", "Method", "MinMax", "Range", "Ranges", "no_samples"]
