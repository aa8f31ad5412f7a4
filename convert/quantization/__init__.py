"""Quantization: a float32 model in, a smaller one out, by one of several tools behind one interface.

=====================  ==============  ========  ===================================================
engine                 takes           gives     schemes
=====================  ==============  ========  ===================================================
ai-edge-quantizer      tflite          tflite    all
tflite-converter       savedmodel      tflite    all but int16x8 and weights-*; needs TensorFlow
onnxruntime            onnx            onnx      all, int8 with float32 inputs and outputs
=====================  ==============  ========  ===================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.convert.quantization.aeq import AiEdgeQuantizer
from tinsmith.convert.quantization.arithmetic import arithmetic_for
from tinsmith.convert.quantization.converter import TfliteConverterQuantizer
from tinsmith.convert.quantization.ort import OnnxruntimeQuantizer
from tinsmith.convert.quantization.plan import Arithmetic, Kept, Plan
from tinsmith.convert.quantization.quantizer import Quantizer, Report
from tinsmith.convert.quantization.schemes import (
    SCHEME_NAMES,
    DynamicInt8,
    Float16,
    Int8,
    Int16x8,
    Scheme,
    WeightsInt4,
    WeightsInt8,
    scheme_named,
)
from tinsmith.runtime.errors import RecipeError

if TYPE_CHECKING:
    from tinsmith.convert.model import Format

__all__ = [
    "QUANTIZERS",
    "SCHEME_NAMES",
    "Arithmetic",
    "DynamicInt8",
    "Float16",
    "Int8",
    "Int16x8",
    "Kept",
    "Plan",
    "Quantizer",
    "Report",
    "Scheme",
    "WeightsInt4",
    "WeightsInt8",
    "arithmetic_for",
    "choose_quantizer",
    "scheme_named",
]

# The first that takes a target is its default.
QUANTIZERS: tuple[Quantizer, ...] = (AiEdgeQuantizer(), TfliteConverterQuantizer(), OnnxruntimeQuantizer())


def choose_quantizer(target: Format, name: str | None = None) -> Quantizer:
    """Find the quantizer that gives a format, or the named one if it does.

    Raises:
        RecipeError: No quantizer has that name, or it does not give that format.
    """
    able = [quantizer for quantizer in QUANTIZERS if quantizer.gives == target]
    for quantizer in able:
        if name in (None, quantizer.name):
            return quantizer
    if name is None:
        raise RecipeError(f"nothing quantizes to {target}", hint="quantize to tflite or onnx")
    raise RecipeError(
        f"no quantizer {name!r} gives {target}",
        hint=f"leave out engine, or choose one of {', '.join(quantizer.name for quantizer in able)}",
    )
