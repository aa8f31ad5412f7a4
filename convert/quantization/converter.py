"""TFLiteConverter: SavedModel to .tflite. Deprecated upstream, and kept as a second opinion; it needs TensorFlow."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.aeq import observe_float_tflite
from tinsmith.convert.quantization.quantizer import Report, calibrated, needed, refuse_four_bits
from tinsmith.convert.quantization.schemes import Float16, Int8, Int16x8, Scheme, WeightsInt4, WeightsInt8
from tinsmith.runtime.errors import RecipeError, TinsmithError, UnsupportedOperatorError, first_line
from tinsmith.runtime.files import sha256_of, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tinsmith.convert.calibration.calibration import Calibration
    from tinsmith.convert.calibration.methods import Detail
    from tinsmith.convert.calibration.ranges import Ranges
    from tinsmith.convert.model import Format
    from tinsmith.convert.quantization.plan import Plan
    from tinsmith.convert.quantization.quantizer import Feeds

__all__ = ["TfliteConverterQuantizer"]

_NEEDED_FOR = "quantizing with TFLiteConverter"
_SIGNATURE = "serving_default"
_EXPECTED_WARNINGS = (
    "Statistics for quantized inputs were expected",  # wrong for samples that are given as ours are
    r"\s*Warning: tf.lite.Interpreter is deprecated",  # its own calibrator uses it
)


class TfliteConverterQuantizer:
    """Quantizes while it converts, with the ranges that it is given; see ``Quantizer``."""

    name = "tflite-converter"
    takes: Format = "savedmodel"
    gives: Format = "tflite"
    extra = "tensorflow"

    def check(self, plan: Plan) -> None:
        """Every scheme but int16x8, operators kept in float32 alone, and nothing that touches weights alone.

        With ranges from outside, TFLiteConverter 2.21 makes 16-bit files that no kernel takes (a zero point of -1), and
        that answer wrongly once that is mended.
        """
        if isinstance(plan.scheme, WeightsInt8 | WeightsInt4):
            raise RecipeError(
                f"TensorFlow's converter has no {plan.scheme.name}", hint="leave out engine: ai-edge-quantizer has it"
            )
        refuse_four_bits(plan, self.name)
        if isinstance(plan.scheme, Int16x8) or plan.kept_in("int16x8"):
            raise RecipeError(
                "tflite-converter has no 16-bit activations with ranges that were found elsewhere",
                hint="leave out engine: ai-edge-quantizer has them",
            )

    def preload(self) -> None:
        """Nothing: what it imports, the process that opens the source imports as well."""

    def fingerprint(self, source: Path) -> str:
        """Of the float .tflite file that the SavedModel becomes."""
        with _plain(source) as plain:
            return sha256_of(plain)

    def calibrate(self, source: Path, samples: Iterable[Feeds], *, detail: Detail = "histograms") -> Calibration:
        """Observe a SavedModel as the float .tflite file that it becomes; see ``Quantizer.calibrate``."""
        with _plain(source) as plain:
            return observe_float_tflite(plain, samples, detail)

    def quantize(self, source: Path, output: Path, plan: Plan, calibration: Calibration | None = None) -> Report:
        """Quantize a SavedModel folder; see ``Quantizer.quantize``."""
        self.check(plan)
        calibration = needed(plan, calibration)
        tensorflow = require("tensorflow", needed_for=_NEEDED_FOR)
        with _translated(source, plan.scheme.name):
            converter = _converter(tensorflow, source)
            if calibration is None:
                _configure(tensorflow, converter, plan.scheme)
                content = bytes(converter.convert())
            else:
                content = _quantized(tensorflow, bytes(converter.convert()), plan, calibration.ranges(plan.method))
        write_bytes(output, content)
        return calibrated(self.name, calibration)


@contextlib.contextmanager
def _plain(source: Path) -> Iterator[Path]:
    """The float .tflite file that a SavedModel becomes, for as long as the context lasts."""
    tensorflow = require("tensorflow", needed_for=_NEEDED_FOR)
    with tempfile.TemporaryDirectory(prefix="tinsmith-") as name, _translated(source, "a calibration"):
        plain = Path(name) / "float.tflite"
        write_bytes(plain, bytes(_converter(tensorflow, source).convert()))
        yield plain


def _converter(tensorflow: Any, source: Path) -> Any:
    return tensorflow.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=[_SIGNATURE])


def _configure(tensorflow: Any, converter: Any, scheme: Scheme) -> None:
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    if isinstance(scheme, Float16):
        converter.target_spec.supported_types = [tensorflow.float16]


def _quantized(tensorflow: Any, plain: bytes, plan: Plan, ranges: Ranges) -> bytes:
    """What the converter does after a calibration of its own, with the ranges of ours.

    Float kernels stay allowed beside the integer ones, as in the other engine, unless the ends are integers.
    """
    convert = require("tensorflow.lite.python.convert", needed_for=_NEEDED_FOR)
    types = convert._types_pb2  # noqa: SLF001 - its only place
    ends = plan.scheme.io if isinstance(plan.scheme, Int8) else "float32"
    with warnings.catch_warnings():
        for message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        return bytes(
            convert.mlir_quantize(
                _with_ranges(plain, ranges),
                fully_quantize=ends == "int8",
                inference_type=types.QUANTIZED_INT8,
                input_data_type=tensorflow.dtypes.as_dtype(ends),
                output_data_type=tensorflow.dtypes.as_dtype(ends),
                denylisted_nodes=set(plan.kept) or None,
            )
        )


def _with_ranges(plain: bytes, ranges: Ranges) -> bytes:
    """The file with each range beside its tensor, which is where the converter's calibrator writes them."""
    flatbuffers = require("ai_edge_litert.tools.flatbuffer_utils", needed_for=_NEEDED_FOR)
    schema = require("ai_edge_litert.schema_py_generated", needed_for=_NEEDED_FOR)
    model = flatbuffers.read_model_from_bytearray(bytearray(plain))
    for tensor in model.subgraphs[0].tensors:
        found = ranges.get(tensor.name.decode())
        if found is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.min, tensor.quantization.max = [found.low], [found.high]
    return bytes(flatbuffers.convert_object_to_bytearray(model))


@contextlib.contextmanager
def _translated(source: Path, wanted: str) -> Iterator[None]:
    try:
        yield
    except TinsmithError:
        raise
    except Exception as error:  # TensorFlow raises ValueError, RuntimeError, ConverterError, OSError and more
        raise UnsupportedOperatorError(
            f"TFLiteConverter can't turn {source.name} into {wanted}: {first_line(error)}",
            hint="try another scheme, or the engine ai-edge-quantizer",
        ) from error
