"""Proof that two models compute the same: their outputs on the same seeded inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.bridge.engines import keras, numpy_of, tensorflow, tf_keras
from tinsmith.convert.bridge.graph import graph_of
from tinsmith.convert.bridge.samples import on_seeded_inputs
from tinsmith.runtime.errors import VerificationError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tinsmith.convert.bridge.rebuild import Rebuilt, Trace

    Arrays = list[npt.NDArray[Any]]

__all__ = ["TOLERANCE", "difference", "verify"]

# Relative to the largest output, at least 1: float32 sums in another order differ by 1e-7 or so per layer.
TOLERANCE = 1e-5


def verify(source: Any, rebuilt: Rebuilt) -> float:
    """Compare both models on seeded inputs, as they are in inference.

    Returns:
        The largest difference between outputs, relative to the largest number in the output or to 1.

    Raises:
        VerificationError: They differ, or one of them can't be run.
    """
    inputs, expected = on_seeded_inputs(source, lambda arrays: _source_outputs(source, arrays))
    actual = _run_target(rebuilt.model, inputs)
    found = max(difference(theirs, ours) for theirs, ours in zip(expected, actual, strict=True))
    if not found <= TOLERANCE:
        raise VerificationError(
            f"the copy of {source.name} in tf_keras gives other outputs: they differ by {found:.2g}, "
            f"allowed are {TOLERANCE:.0e}{_where(source, rebuilt, inputs)}",
            hint="replace that layer, and report it: the bridge should either carry it over or refuse it",
        )
    return found


def difference(expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> float:
    """The largest difference, relative to the largest finite number that is expected, or to 1.

    NaN and infinity count as equal where both have them, and as infinitely different where one has.
    """
    if expected.shape != actual.shape:
        return float("inf")
    theirs, ours = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(theirs[~finite], ours[~finite], equal_nan=True) or not np.isfinite(ours[finite]).all():
        return float("inf")
    scale = max(1.0, float(np.abs(theirs[finite]).max(initial=0.0)))
    return float(np.abs(theirs[finite] - ours[finite]).max(initial=0.0)) / scale


def _source_outputs(source: Any, inputs: Arrays) -> Arrays:
    tensors = [keras().ops.convert_to_tensor(array) for array in inputs]
    given = keras().tree.pack_sequence_as(graph_of(source).input, tensors)
    return [numpy_of(output) for output in keras().tree.flatten(source(given, training=False))]


def _run_target(target: Any, inputs: Arrays) -> Arrays:
    tensors = [tensorflow().convert_to_tensor(array) for array in inputs]
    try:
        outputs = target(keras().tree.pack_sequence_as(target.input, tensors), training=False)
    except (ValueError, TypeError, tensorflow().errors.OpError) as error:
        message = f"the copy of {target.name} in tf_keras does not run: {first_line(error)}"
        raise VerificationError(message, hint="report it: the bridge should have refused the model") from error
    return [output.numpy() for output in keras().tree.flatten(outputs)]


def _where(source: Any, rebuilt: Rebuilt, inputs: Arrays) -> str:
    """Say which layer is the first to differ."""
    trace = _first_difference(source, rebuilt, inputs)
    if trace is None:
        return ""
    return f"; the first layer that differs is {trace.operation.name} ({type(trace.operation).__name__})"


def _first_difference(source: Any, rebuilt: Rebuilt, inputs: Arrays) -> Trace | None:
    """Run both models with every tensor as an output, and find the first call that gives something else."""
    traces = rebuilt.traces
    function = keras().Function(source.inputs, [tensor for trace in traces for tensor in trace.source])
    model = tf_keras().Model(rebuilt.model.inputs, [tensor for trace in traces for tensor in trace.target])
    tensors = [keras().ops.convert_to_tensor(array) for array in inputs]
    expected = iter([numpy_of(output) for output in function(tensors)])
    actual = iter(_run_target(model, inputs))
    return next((trace for trace in traces if _differs(trace.source, expected, actual)), None)


def _differs(tensors: Sequence[Any], expected: Any, actual: Any) -> bool:
    """Whether a call's outputs differ; takes as many arrays as it gave tensors."""
    pairs = [(next(expected), next(actual)) for _ in tensors]
    return any(not difference(theirs, ours) <= TOLERANCE for theirs, ours in pairs)
