"""Shows an observer every tensor of a float .tflite file while it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tinsmith.convert.calibration.calibration import Calibration
from tinsmith.convert.calibration.feeding import Portions
from tinsmith.convert.calibration.observer import Observer
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import UnsupportedOperatorError, first_line
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.convert.calibration.methods import Detail

__all__ = ["observe_tflite"]


def observe_tflite(
    source: Path,
    watched: Sequence[tuple[int, str]],
    samples: Iterable[Mapping[str, NDArray[np.generic]]],
    detail: Detail,
) -> Calibration:
    """Run a float .tflite file on samples, and keep statistics of its tensors.

    ai-edge-quantizer's own calibrator reads all samples at once, keeps an average that depends on their order, and
    wants a signature. This one streams, and does not.

    Args:
        source: The file; of one graph, without loops or branches.
        watched: Index and name of each tensor to observe.
        samples: Batches, one array an input name, samples on axis 0; read once.
        detail: What to keep of each tensor.

    Raises:
        UnsupportedOperatorError: The interpreter refuses the file.
        DataError: There are no samples, or they do not fit the model.
        ModelError: The model can't be run, a tensor becomes NaN or infinite, or is never reached.
    """
    from tinsmith.runtime.engines.tflite import TfliteEngine

    interpreter = _observing_interpreter(source)
    engine = TfliteEngine(interpreter, name="litert", version="", accelerator="cpu")
    observer, portions = Observer(detail), Portions(samples, engine.inputs)
    for portion in portions:
        interpreter.reset_all_variables()
        engine.run([portion.feeds[spec.name] for spec in engine.inputs])
        tensor_bytes = 0
        for index, name in watched:
            values = interpreter.get_tensor(index)
            tensor_bytes += values.nbytes
            observer.observe(name, values, portion)
        portions.fit(portion, tensor_bytes)
    inputs = {int(entry["index"]) for entry in interpreter.get_input_details()}
    return Calibration(
        model_sha256=sha256_of(source),
        samples=portions.samples,
        tensors=observer.seen([n for _, n in watched], inputs=[n for index, n in watched if index in inputs]),
    )


def _observing_interpreter(source: Path) -> Any:
    """An interpreter that keeps every tensor.

    Without XNNPACK: it fuses operators, and the tensors between them are then not computed.
    """
    litert = require("ai_edge_litert.interpreter", needed_for="quantizing a .tflite file")
    try:
        interpreter = litert.Interpreter(
            model_path=str(source),
            num_threads=os.cpu_count() or 1,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise UnsupportedOperatorError(f"LiteRT can't run {source.name}: {first_line(error)}") from error
    return interpreter
