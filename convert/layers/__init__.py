"""The layer debugger: a float model and what it became, held against each other tensor by tensor.

Needs no debug build of either: both run as they are, and what is compared are the tensors that both compute. For each
the error is told apart into what was handed on and what was added there, by running each float operator on the very
values that the other model fed it.
"""

from __future__ import annotations

from tinsmith.convert.layers.comparing import LayerComparison, compare_layers, first_samples
from tinsmith.convert.layers.observing import layer_report
from tinsmith.convert.layers.page import write_page
from tinsmith.convert.layers.report import Culprit, LayerError, LayerReport, OnlyOne

__all__ = [
    "Culprit",
    "LayerComparison",
    "LayerError",
    "LayerReport",
    "OnlyOne",
    "compare_layers",
    "first_samples",
    "layer_report",
    "write_page",
]
