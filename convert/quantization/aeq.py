"""ai-edge-quantizer: .tflite to .tflite, without TensorFlow."""

from __future__ import annotations

import contextlib
import re
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.calibration.ranges import Range
from tinsmith.convert.calibration.tflite import observe_tflite
from tinsmith.convert.frameworks import require
from tinsmith.convert.quantization.aeq_blocks import BLOCK_SIZES, add_blocks
from tinsmith.convert.quantization.four_bits import require_kernels, store_in_four_bits
from tinsmith.convert.quantization.pools import make_means_of_pools
from tinsmith.convert.quantization.quantizer import Report, calibrated, check_kept, needed, require_names
from tinsmith.convert.quantization.quiet import root_logger_left_alone
from tinsmith.convert.quantization.schemes import (
    DynamicInt8,
    Float16,
    Int8,
    Int16x8,
    Scheme,
    WeightsInt4,
    WeightsInt8,
)
from tinsmith.convert.quantization.tflite_model import activations, read_float_model
from tinsmith.convert.quantization.weight_grids import spans_of_weights
from tinsmith.runtime.errors import RecipeError, UnsupportedOperatorError, first_line
from tinsmith.runtime.files import sha256_of, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tinsmith.convert.calibration.calibration import Calibration
    from tinsmith.convert.calibration.methods import Detail
    from tinsmith.convert.calibration.ranges import Ranges
    from tinsmith.convert.model import Format
    from tinsmith.convert.quantization.plan import Plan
    from tinsmith.convert.quantization.quantizer import Feeds

__all__ = ["AiEdgeQuantizer", "observe_float_tflite", "quantize_with_ranges"]

_NEEDED_FOR = "quantizing a .tflite file"
# On a finer grid the limit of a ReLU6 does not fit into 32 bits, and the interpreter refuses the file.
_LEAST_SCALE = 2.0**-27


class AiEdgeQuantizer:
    """Google's successor of the quantization inside TFLiteConverter; see ``Quantizer``."""

    name = "ai-edge-quantizer"
    takes: Format = "tflite"
    gives: Format = "tflite"
    extra = "tensorflow"

    def check(self, plan: Plan) -> None:
        """Every scheme, with blocks of 32 at least; see ``Quantizer.check``."""
        check_kept(plan)
        if isinstance(plan.scheme, WeightsInt4) and plan.scheme.block_size not in BLOCK_SIZES:
            raise RecipeError(
                f"TFLite has no blocks of {plan.scheme.block_size}",
                hint=f"choose a block_size of {', '.join(map(str, BLOCK_SIZES))}, or make an .onnx",
            )

    def preload(self) -> None:
        """A quarter of the time that quantizing a small model takes."""
        _import_quantizer()

    def fingerprint(self, source: Path) -> str:
        """Of the file itself."""
        return sha256_of(source)

    def calibrate(self, source: Path, samples: Iterable[Feeds], *, detail: Detail = "histograms") -> Calibration:
        """Observe a .tflite file; see ``Quantizer.calibrate``."""
        return observe_float_tflite(source, samples, detail)

    def quantize(self, source: Path, output: Path, plan: Plan, calibration: Calibration | None = None) -> Report:
        """Quantize a .tflite file; see ``Quantizer.quantize``."""
        self.check(plan)
        calibration = needed(plan, calibration)
        ranges = None if calibration is None else calibration.ranges(plan.method)
        write_bytes(output, quantize_with_ranges(source, plan, ranges))
        return calibrated(self.name, calibration)


def observe_float_tflite(source: Path, samples: Iterable[Feeds], detail: Detail) -> Calibration:
    """Observe every tensor that a float .tflite file computes.

    Raises:
        RecipeError: The model is quantized already, or computes nothing.
        UnsupportedOperatorError: The model has loops or branches, whose insides can't be observed from outside.
        DataError: There are no samples, or they do not fit the model.
        ModelError: The model can't be run.
    """
    model = read_float_model(source)
    if len(model.subgraphs) > 1:
        raise UnsupportedOperatorError(
            f"{source.name} has loops, branches or functions of its own, and the ranges inside them can't be observed",
            hint="use dynamic-int8 or float16, or export the model with its loops unrolled",
        )
    watched = list(activations(model))
    if not watched:
        raise _nothing_to_do(source, "static quantization")
    return observe_tflite(source, watched, samples, detail)


def quantize_with_ranges(source: Path, plan: Plan, ranges: Ranges | None) -> bytes:
    """Quantize a float .tflite file.

    Args:
        source: The file.
        plan: What to turn it into, and which operators to keep.
        ranges: One for each computed tensor, from a calibration; None for schemes that are not static.

    Raises:
        RecipeError: The model is quantized already, holds nothing that the scheme makes smaller, computes no tensor
            of a name in ``kept``, or has no kernel for what is to be kept in int8x4.
        UnsupportedOperatorError: ai-edge-quantizer can't work on this model.
    """
    _import_quantizer()
    model, scheme = read_float_model(source), plan.scheme
    require_names(plan, (_first_output(model, operator) for operator in model.subgraphs[0].operators), source)
    narrow = plan.kept_in("int8x4")
    require_kernels(model, narrow)
    if isinstance(scheme, Int8):
        make_means_of_pools(model, plan.kept)
    parameters = require("ai_edge_quantizer.params_generator", needed_for=_NEEDED_FOR)
    modifier = require("ai_edge_quantizer.model_modifier", needed_for=_NEEDED_FOR)
    try:
        # A number that does not fit its integer would otherwise be stored as another one.
        with np.errstate(invalid="raise"), root_logger_left_alone():
            generated = parameters.ParamsGenerator(model).generate_quantization_parameters(
                _recipe(model, plan), _statistics(model, plan, ranges), enable_progress_bar=False
            )
            content = bytes(modifier.ModelModifier(model).modify_model(generated, enable_progress_bar=False))
    except Exception as error:  # ai-edge-quantizer raises ValueError, RuntimeError, KeyError and more
        raise UnsupportedOperatorError(
            f"ai-edge-quantizer can't turn {source.name} into {scheme.name}: {first_line(error)}",
            hint="try another scheme, or the engine tflite-converter on the SavedModel",
        ) from error
    _check_changed(source, scheme, generated)
    return store_in_four_bits(content, narrow) if narrow else content


def _recipe(model: Any, plan: Plan) -> Any:
    """A recipe manager that applies the scheme to every operator that has a kernel for it, and is not kept."""
    manager = require("ai_edge_quantizer.recipe_manager", needed_for=_NEEDED_FOR).RecipeManager()
    recipes = require("ai_edge_quantizer.recipe", needed_for=_NEEDED_FOR)
    match plan.scheme:
        case Float16():
            _add_float16(manager)
        case DynamicInt8():
            manager.load_quantization_recipe(recipes.dynamic_wi8_afp32())
        case Int8():
            manager.load_quantization_recipe(recipes.static_wi8_ai8())
        case Int16x8():
            manager.load_quantization_recipe(recipes.static_wi8_ai16())
        case WeightsInt8():
            manager.load_quantization_recipe(recipes.weight_only_wi8_afp32())
        case WeightsInt4(block_size=block_size):
            add_blocks(manager, model, block_size)
    if plan.scheme.static and plan.scheme != Int8(io="int8"):
        _keep_float_ends(manager)
    _keep_operators(manager, model, plan)
    return manager


def _keep_operators(manager: Any, model: Any, plan: Plan) -> None:
    """The last entry that fits an operator counts; it is found by all that it computes, and by its kind.

    The kind, because the virtual operator behind an output goes by the same name as the last operator.
    """
    flatbuffers = require("ai_edge_quantizer.utils.tfl_flatbuffer_utils", needed_for=_NEEDED_FOR)
    algorithms = require("ai_edge_quantizer.algorithm_manager", needed_for=_NEEDED_FOR).AlgorithmName
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        kept = plan.kept.get(_first_output(model, operator))
        kind = flatbuffers.TFL_OP_CODE_TO_NAME.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
        if kept in (None, "int8x4") or kind is None:
            continue
        scope = f"^{re.escape(flatbuffers.get_op_scope(operator, tensors))}$"
        manager.add_quantization_config(scope, kind, algorithm_key=algorithms.NO_QUANTIZE)
        if kept == "int16x8":
            # Where there is no such kernel this one is passed over, and the operator stays in float.
            manager.add_quantization_config(scope + "(?:)", kind, _wide_config(), algorithms.MIN_MAX_UNIFORM_QUANT)


def _wide_config() -> Any:
    """Activations in 16 bits, weights in 8 by channel."""
    types_ = require("ai_edge_quantizer.qtyping", needed_for=_NEEDED_FOR)
    recipes = require("ai_edge_quantizer.recipe", needed_for=_NEEDED_FOR)
    (entry,) = recipes.static_wi8_ai16()
    return types_.OpQuantizationConfig.from_dict(entry["op_config"])


def _first_output(model: Any, operator: Any) -> str:
    outputs = operator.outputs
    return model.subgraphs[0].tensors[outputs[0]].name.decode() if outputs is not None and len(outputs) else ""


def _add_float16(manager: Any) -> None:
    types_ = require("ai_edge_quantizer.qtyping", needed_for=_NEEDED_FOR)
    algorithms = require("ai_edge_quantizer.algorithm_manager", needed_for=_NEEDED_FOR).AlgorithmName
    weights = types_.TensorQuantizationConfig(num_bits=16, dtype=types_.TensorDataType.FLOAT)
    config = types_.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=types_.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    every = types_.TFLOperationName.ALL_SUPPORTED
    manager.add_quantization_config(".*", every, config, algorithms.FLOAT_CASTING)


def _keep_float_ends(manager: Any) -> None:
    """Leave inputs and outputs alone: a QUANTIZE and a DEQUANTIZE operator are put in beside them."""
    operators = require("ai_edge_quantizer.qtyping", needed_for=_NEEDED_FOR).TFLOperationName
    algorithms = require("ai_edge_quantizer.algorithm_manager", needed_for=_NEEDED_FOR).AlgorithmName
    for end in (operators.INPUT, operators.OUTPUT):
        manager.add_quantization_config(".*", end, algorithm_key=algorithms.NO_QUANTIZE)


def _statistics(model: Any, plan: Plan, ranges: Ranges | None) -> dict[str, dict[str, Any]] | None:
    """Ranges in the words of ai-edge-quantizer. It updates them, so each call makes them anew.

    It takes the range of a weight from the weight itself, unless it is told another one here.
    """
    if ranges is None:
        return None
    some_wide = isinstance(plan.scheme, Int16x8) or bool(plan.kept_in("int16x8"))
    steps = (1 << 16) - 2 if some_wide else (1 << 8) - 1
    wide = {name: _wide_enough(found, _LEAST_SCALE * steps) for name, found in ranges.items()}
    statistics: dict[str, dict[str, Any]] = {
        name: {"min": np.array([found.low], np.float32), "max": np.array([found.high], np.float32)}
        for name, found in wide.items()
    }
    for name, spans in spans_of_weights(model, wide, input_steps=steps, narrow=plan.kept_in("int8x4")):
        statistics[name] = {"min": -spans, "max": spans}
    return statistics


def _wide_enough(found: Range, least: float) -> Range:
    return Range(low=found.low, high=max(found.high, found.low + least))


def _check_changed(source: Path, scheme: Scheme, generated: dict[str, Any]) -> None:
    """ai-edge-quantizer leaves alone what it has no kernel for; all of it would be no quantization at all."""
    for tensor in generated.values():
        uses = [use for use in (tensor.producer, *(tensor.consumers or ())) if use is not None]
        if any(use.parameters is not None for use in uses):
            return
    raise _nothing_to_do(source, scheme.name)


def _nothing_to_do(source: Path, what: str) -> RecipeError:
    return RecipeError(
        f"{what} finds nothing in {source.name} that it could make smaller",
        hint="`tinsmith inspect` shows its operators; try another scheme",
    )


def _import_quantizer() -> None:
    with _without_linear_algebra():
        require("ai_edge_quantizer", needed_for=_NEEDED_FOR)


@contextlib.contextmanager
def _without_linear_algebra() -> Iterator[None]:
    """Spare the 0.2 s of importing scipy.linalg, two thirds of ai-edge-quantizer's import.

    Only its GPTQ uses it, and looks it up as ``scipy.linalg`` at that time, which imports it then: scipy loads its
    modules on first use. Until the import is over, an empty module stands in its place.
    """
    name = "scipy.linalg"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
