"""TFLiteConverter: SavedModel to .tflite. Deprecated upstream, and kept as a second opinion; it needs TensorFlow."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.feeding import portions
from tinsmith.convert.quantization.quantizer import Report, calibration_samples
from tinsmith.convert.quantization.schemes import Float16, Int8, Int16x8, Scheme
from tinsmith.runtime.errors import ModelLoadError, TinsmithError, UnsupportedOperatorError, first_line
from tinsmith.runtime.files import write_bytes
from tinsmith.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tinsmith.convert.model import Format
    from tinsmith.convert.quantization.quantizer import Feeds

__all__ = ["TfliteConverterQuantizer"]

_NEEDED_FOR = "quantizing with TFLiteConverter"
_SIGNATURE = "serving_default"
_EXPECTED_WARNINGS = (
    "Statistics for quantized inputs were expected",  # wrong for samples that are given as ours are
    r"\s*Warning: tf.lite.Interpreter is deprecated",  # its own calibrator uses it
)


class TfliteConverterQuantizer:
    """Quantizes while it converts, with min-max ranges over all samples; see ``Quantizer``."""

    name = "tflite-converter"
    takes: Format = "savedmodel"
    gives: Format = "tflite"
    extra = "tensorflow"

    def check(self, scheme: Scheme) -> None:
        """It has every scheme."""

    def quantize(self, source: Path, output: Path, scheme: Scheme, samples: Iterable[Feeds] | None = None) -> Report:
        """Quantize a SavedModel folder; see ``Quantizer.quantize``."""
        tally = calibration_samples(samples) if scheme.static else None
        tensorflow = require("tensorflow", needed_for=_NEEDED_FOR)
        try:
            converter = tensorflow.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=[_SIGNATURE])
            _configure(tensorflow, converter, scheme)
            if tally is not None:
                inputs = _inputs(tensorflow, source)
                converter.representative_dataset = _one_by_one(tally, inputs)
            with warnings.catch_warnings():
                for message in _EXPECTED_WARNINGS:
                    warnings.filterwarnings("ignore", message=message, category=UserWarning)
                content = bytes(converter.convert())
        except TinsmithError:
            raise
        except Exception as error:  # TensorFlow raises ValueError, RuntimeError, ConverterError, OSError and more
            raise UnsupportedOperatorError(
                f"TFLiteConverter can't turn {source.name} into {scheme.name}: {first_line(error)}",
                hint="try another scheme, or the engine ai-edge-quantizer",
            ) from error
        write_bytes(output, content)
        return Report(engine=self.name, samples=tally.samples if tally else 0)


def _configure(tensorflow: Any, converter: Any, scheme: Scheme) -> None:
    lite = tensorflow.lite
    converter.optimizations = [lite.Optimize.DEFAULT]
    match scheme:
        case Float16():
            converter.target_spec.supported_types = [tensorflow.float16]
        case Int8(io=io):
            # Float kernels stay allowed beside the integer ones, as in the other engine, unless the ends are integers.
            integers = [lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.target_spec.supported_ops = integers if io == "int8" else [*integers, lite.OpsSet.TFLITE_BUILTINS]
            converter.inference_input_type = converter.inference_output_type = tensorflow.dtypes.as_dtype(io)
        case Int16x8():
            converter.target_spec.supported_ops = [
                lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
                lite.OpsSet.TFLITE_BUILTINS,
            ]


def _one_by_one(samples: Iterable[Feeds], inputs: list[TensorSpec]) -> Callable[[], Iterator[dict[str, Any]]]:
    """Samples with a batch axis of 1, as TFLiteConverter asks for them."""

    def representative() -> Iterator[dict[str, Any]]:
        yield from portions(samples, inputs, at_most=1)

    return representative


def _inputs(tensorflow: Any, source: Path) -> list[TensorSpec]:
    """The inputs by the signature's names, which are the names that TFLiteConverter looks samples up by."""
    signatures = tensorflow.saved_model.load(str(source)).signatures
    if _SIGNATURE not in signatures:
        raise ModelLoadError(f"{source} has no signature {_SIGNATURE}", hint="export it again with one")
    _, named = signatures[_SIGNATURE].structured_input_signature
    return [
        TensorSpec(name=name, dtype=np.dtype(spec.dtype.as_numpy_dtype).name, shape=tuple(spec.shape.as_list()))
        for name, spec in sorted(named.items())
    ]
