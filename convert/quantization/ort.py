"""onnxruntime.quantization: .onnx to .onnx."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.calibration.calibration import Calibration
from tinsmith.convert.calibration.onnx import observe_onnx
from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.conv_weights import store_convolutions_in_int8
from tinsmith.convert.quantization.onnx_kept import name_kept, wide_tensors
from tinsmith.convert.quantization.onnx_model import is_quantized, opset_of, prepare, read_float_model
from tinsmith.convert.quantization.out_of_core import blocks_of, draft, write_in_blocks
from tinsmith.convert.quantization.quantizer import Report, calibrated, check_kept, needed, refuse_four_bits
from tinsmith.convert.quantization.quiet import root_logger_left_alone
from tinsmith.convert.quantization.schemes import Float16, Int8, Int16x8, WeightsInt4, WeightsInt8
from tinsmith.runtime.errors import RecipeError, TinsmithError, UnsupportedOperatorError, first_line
from tinsmith.runtime.files import sha256_of, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tinsmith.convert.calibration.methods import Detail
    from tinsmith.convert.calibration.ranges import Ranges
    from tinsmith.convert.model import Format
    from tinsmith.convert.quantization.plan import Plan
    from tinsmith.convert.quantization.quantizer import Feeds

__all__ = ["OnnxruntimeQuantizer", "quantize_with_ranges"]

_NEEDED_FOR = "quantizing an .onnx file"
_SILENT, _DEFAULT_SEVERITY = 3, 2
# 16-bit QuantizeLinear is standard since this opset; before it, onnxruntime has one of its own.
_INT16_OPSET = 21
# Convolutions are not here: see conv_weights. A Gemm becomes a MatMul and an Add on the way.
_DYNAMIC_OPERATORS = ["Gather", "LSTM", "MatMul"]


class OnnxruntimeQuantizer:
    """onnxruntime's own tools, in the QDQ format; see ``Quantizer``."""

    name = "onnxruntime"
    takes: Format = "onnx"
    gives: Format = "onnx"
    extra = "onnx"

    def check(self, plan: Plan) -> None:
        """Every scheme, but with float inputs and outputs only: .onnx has no place for an input's scale."""
        check_kept(plan)
        refuse_four_bits(plan, self.name)
        if plan.scheme == Int8(io="int8"):
            raise RecipeError(
                "an .onnx file can't have int8 inputs and outputs, because nothing in it would say their scale",
                hint="leave out io, or make a .tflite",
            )

    def preload(self) -> None:
        """Nothing: what it imports, the process that opens the source imports as well."""

    def fingerprint(self, source: Path) -> str:
        """Of the file itself."""
        return sha256_of(source)

    def calibrate(self, source: Path, samples: Iterable[Feeds], *, detail: Detail = "histograms") -> Calibration:
        """Observe an .onnx file; see ``Quantizer.calibrate``."""
        with (
            tempfile.TemporaryDirectory(prefix="tinsmith-") as name,
            _quiet(),
            _translated(source, "a calibration"),
        ):
            count, tensors = observe_onnx(prepare(source, Path(name)), _static_operators(), samples, detail)
        return Calibration(model_sha256=sha256_of(source), samples=count, tensors=tensors)

    def quantize(self, source: Path, output: Path, plan: Plan, calibration: Calibration | None = None) -> Report:
        """Quantize an .onnx file; see ``Quantizer.quantize``."""
        self.check(plan)
        if isinstance(plan.scheme, WeightsInt8 | WeightsInt4):
            write_in_blocks(draft(source, blocks_of(plan.scheme), kept=plan.kept), output)
            return Report(engine=self.name)
        calibration = needed(plan, calibration)
        write_bytes(output, self._content(source, plan, calibration))
        return calibrated(self.name, calibration)

    @staticmethod
    def _content(source: Path, plan: Plan, calibration: Calibration | None) -> bytes:
        if isinstance(plan.scheme, Float16):
            return _to_float16(source, plan)
        with tempfile.TemporaryDirectory(prefix="tinsmith-") as name, _quiet(), _translated(source, plan.scheme.name):
            prepared = prepare(source, Path(name))
            if calibration is None:
                return _dynamic(prepared, plan)
            return quantize_with_ranges(prepared, plan, calibration.ranges(plan.method))


def quantize_with_ranges(prepared: Path, plan: Plan, ranges: Ranges) -> bytes:
    """Put QuantizeLinear and DequantizeLinear around every operator that onnxruntime can run on integers.

    Activations are unsigned and weights signed unless told otherwise: with VNNI that is more than twice as fast as
    signed activations (ResNet8, onnxruntime 1.32), and no less exact. See ``arithmetic`` for other CPUs.

    Args:
        prepared: From ``prepare``.
        plan: A static scheme, which operators to keep, and which integers to multiply; 16-bit activations stay as they
            are.
        ranges: One for each tensor, from a calibration.

    Raises:
        RecipeError: The model holds nothing that can be quantized, or computes no tensor of a name in ``kept``.
    """
    tools = require("onnxruntime.quantization", needed_for=_NEEDED_FOR)
    loading = require("onnxruntime.quantization.quant_utils", needed_for=_NEEDED_FOR)
    model = loading.load_model_with_shape_infer(prepared)
    wide = isinstance(plan.scheme, Int16x8)
    floats = name_kept(model, plan, prepared)
    overrides = wide_tensors(model, plan, ranges)
    integers = plan.arithmetic
    types = {"uint8": tools.QuantType.QUInt8, "int8": tools.QuantType.QInt8}
    quantizer = tools.QDQQuantizer(
        model,
        True,  # per channel
        integers.reduce_range and not wide,
        types[integers.weights],
        tools.QuantType.QInt16 if wide else types[integers.activations],
        _tensors_data(ranges),
        [],
        floats,
        _static_operators(),
        {
            "UseQDQContribOps": (wide or bool(overrides)) and opset_of(model) < _INT16_OPSET,
            "TensorQuantOverrides": overrides,
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return _serialize(quantizer.model.model)


def _dynamic(prepared: Path, plan: Plan) -> bytes:
    """Activations are unsigned here on every CPU: DynamicQuantizeLinear gives no other."""
    tools = require("onnxruntime.quantization", needed_for=_NEEDED_FOR)
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    written = prepared.with_name("dynamic.onnx")
    source = onnx.load(str(prepared))
    floats = name_kept(source, plan, prepared)
    onnx.save(source, str(prepared))
    tools.quantize_dynamic(
        str(prepared),
        str(written),
        nodes_to_exclude=floats,
        op_types_to_quantize=_DYNAMIC_OPERATORS,
        per_channel=True,
        reduce_range=plan.arithmetic.reduce_range,
        weight_type=tools.QuantType.QInt8 if plan.arithmetic.weights == "int8" else tools.QuantType.QUInt8,
    )
    model = onnx.load(str(written))
    store_convolutions_in_int8(model, kept=plan.kept.keys())
    return _serialize(model)


def _to_float16(source: Path, plan: Plan) -> bytes:
    """Every float32 weight and activation in half precision, but for operators that have no such kernel anywhere."""
    converter = require("onnxruntime.transformers.float16", needed_for=_NEEDED_FOR)
    sorting = require("onnxruntime.quantization.onnx_model", needed_for=_NEEDED_FOR)
    onnx = require("onnx", needed_for=_NEEDED_FOR)
    model = read_float_model(source)
    floats = name_kept(model, plan, source)
    with _quiet(), _translated(source, Float16.name):
        converted = converter.convert_float_to_float16(model, keep_io_types=True, node_block_list=floats)
        sorting.ONNXModel(converted).topological_sort()
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in converted.graph.initializer):
        raise _nothing_to_do(Float16.name)
    return bytes(converted.SerializeToString(deterministic=True))


def _serialize(model: Any) -> bytes:
    if not is_quantized(model):
        raise _nothing_to_do("quantization")
    return bytes(model.SerializeToString(deterministic=True))


def _nothing_to_do(what: str) -> RecipeError:
    return RecipeError(
        f"{what} finds nothing in this model that it could make smaller",
        hint="`tinsmith inspect` shows its operators; try another scheme",
    )


def _static_operators() -> list[str]:
    """Every operator that onnxruntime has a rule for; sorted, because the order decides the file's bytes."""
    registry = require("onnxruntime.quantization.registry", needed_for=_NEEDED_FOR)
    return sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry})


def _tensors_data(ranges: Ranges) -> Any:
    calibrate = require("onnxruntime.quantization.calibrate", needed_for=_NEEDED_FOR)
    data = {
        name: calibrate.TensorData(lowest=np.array([found.low], np.float32), highest=np.array([found.high], np.float32))
        for name, found in ranges.items()
    }
    return calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, data)


@contextlib.contextmanager
def _translated(source: Path, wanted: str) -> Iterator[None]:
    try:
        yield
    except TinsmithError:
        raise
    except Exception as error:  # onnxruntime's tools raise ValueError, RuntimeError, their own Fail and more
        raise UnsupportedOperatorError(
            f"onnxruntime can't turn {source.name} into {wanted}: {first_line(error)}",
            hint="try another scheme, or make a .tflite",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Errors still reach us as exceptions."""
    onnxruntime = require("onnxruntime", needed_for=_NEEDED_FOR)
    onnxruntime.set_default_logger_severity(_SILENT)
    try:
        with root_logger_left_alone():
            yield
    finally:
        onnxruntime.set_default_logger_severity(_DEFAULT_SEVERITY)
