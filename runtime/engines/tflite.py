"""A TFLite interpreter as an engine; LiteRT and the older tflite-runtime share its interface."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.runtime.engines.delegation import delegates, placed
from tinsmith.runtime.errors import AcceleratorError, ModelError, ModelLoadError, first_line
from tinsmith.runtime.operator_times import OperatorTimes
from tinsmith.runtime.placement import Placement
from tinsmith.runtime.tensors import Quantization, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

__all__ = ["TfliteEngine", "open_interpreter"]

# The names under which a vendor ships its delegate; any other is given as `delegate:PATH`.
_DELEGATE_LIBRARIES = {"edgetpu": "libedgetpu.so.1"}


class TfliteEngine:
    """One TFLite interpreter; see ``tinsmith.runtime.engines.Engine``.

    Args:
        interpreter: With its tensors allocated.
        name: Of the engine.
        version: Of its package.
        accelerator: Whose delegate was applied, or ``cpu``.
        parts: How many parts of the graph that delegate has taken.
    """

    refusals: tuple[str, ...] = ()

    def __init__(self, interpreter: Any, *, name: str, version: str, accelerator: str, parts: int = 0) -> None:
        self._parts = parts
        self.name = name
        self.version = version
        self.accelerator = accelerator
        self._interpreter = interpreter
        inputs, outputs = _named_details(interpreter)
        self.inputs = tuple(_spec(tensor, detail) for tensor, detail in inputs)
        self.outputs = tuple(_spec(tensor, detail) for tensor, detail in outputs)
        self._input_indices = [int(detail["index"]) for _, detail in inputs]
        self._output_indices = [int(detail["index"]) for _, detail in outputs]
        self._shapes = [tuple(int(n) for n in detail["shape"]) for _, detail in inputs]

    def run(self, feeds: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Run once on stored dtypes; a new shape on a free axis makes the interpreter allocate again."""
        interpreter = self._interpreter
        try:
            shapes = [feed.shape for feed in feeds]
            if shapes != self._shapes:
                self._resize(shapes)
            for index, feed in zip(self._input_indices, feeds, strict=True):
                interpreter.set_tensor(index, feed)
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{self.name} failed while running the model: {first_line(error)}") from error
        return [interpreter.get_tensor(index) for index in self._output_indices]

    def placement(self) -> Placement:
        """Where the operators of the main graph run; those in the bodies of loops and branches are not told."""
        return Placement.counted(placed(_nodes(self._interpreter), self.accelerator, self._parts), self.refusals)

    def operator_times(
        self, path: Path, threads: int, feeds: Sequence[NDArray[np.generic]], *, runs: int
    ) -> OperatorTimes:
        """See ``Profiling``; only LiteRT's library has a profiler that can be reached, and only for the CPU."""
        if self.name != "litert" or self.accelerator != "cpu":
            return OperatorTimes(operators=None, why=f"{self.name} tells no times of operators on {self.accelerator}")
        from tinsmith.runtime.engines.litert_profiler import profile

        named = {spec.name: feed for spec, feed in zip(self.inputs, feeds, strict=True)}
        return profile(path, threads, named, runs=runs)

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None

    def _resize(self, shapes: list[tuple[int, ...]]) -> None:
        for index, shape in zip(self._input_indices, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, list(shape), strict=True)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def open_interpreter(
    module: ModuleType, path: Path, *, name: str, version: str, accelerator: str, threads: int
) -> TfliteEngine:
    """Load ``path`` with the ``Interpreter`` class of ``module``.

    The file is mapped by the interpreter itself: ``CompiledModel.from_file`` dies on damaged files, this does not.

    Raises:
        AcceleratorError: The delegate is not here, refuses the model, or takes none of its operators.
        ModelLoadError: The interpreter refused the file.
    """
    loaded = [] if accelerator == "cpu" else [_load_delegate(module, accelerator)]
    try:
        interpreter = module.Interpreter(
            model_path=str(path), num_threads=threads, experimental_delegates=loaded or None
        )
        # the default delegate comes with the allocation, after those that were asked for
        parts = delegates(_nodes(interpreter)) if loaded else 0
        interpreter.allocate_tensors()
        engine = TfliteEngine(interpreter, name=name, version=version, accelerator=accelerator, parts=parts)
    except (RuntimeError, ValueError) as error:
        if loaded:
            raise AcceleratorError(f"{accelerator} does not take {path.name}: {first_line(error)}") from error
        raise ModelLoadError(f"{name} {version} can't load {path}: {first_line(error)}") from error
    if loaded and not parts:
        raise AcceleratorError(f"{accelerator} loaded, but takes no operator of {path.name}: was it compiled for it?")
    if not engine.outputs:
        raise ModelLoadError(f"{path} has no outputs, so there is nothing to run")
    return engine


def _load_delegate(module: ModuleType, accelerator: str) -> Any:
    library = accelerator.removeprefix("delegate:")
    if library == accelerator and accelerator not in _DELEGATE_LIBRARIES:
        raise AcceleratorError(
            f"there is no accelerator {accelerator!r} for .tflite files; known: cpu, "
            f"{', '.join(_DELEGATE_LIBRARIES)}, delegate:PATH"
        )
    library = _DELEGATE_LIBRARIES.get(library, library)
    try:
        # Tried by ourselves first: a Delegate that fails half-way complains on stderr when it is collected.
        ctypes.CDLL(library)
        return module.load_delegate(library)
    except (OSError, ValueError) as error:
        raise AcceleratorError(f"{accelerator} can't be loaded: {first_line(error)}") from error


def _nodes(interpreter: Any) -> list[dict[str, Any]]:
    # LiteRT and tflite-runtime have no public way to ask what runs where
    nodes: list[dict[str, Any]] = interpreter._get_ops_details()  # noqa: SLF001
    return nodes


def _named_details(interpreter: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Pair each input and output with its signature name where there is one signature, else with its tensor name."""
    inputs = {int(d["index"]): (str(d["name"]), d) for d in interpreter.get_input_details()}
    outputs = {int(d["index"]): (str(d["name"]), d) for d in interpreter.get_output_details()}
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        _rename(inputs, runner.get_input_details())
        _rename(outputs, runner.get_output_details())
    return list(inputs.values()), list(outputs.values())


def _rename(details: dict[int, tuple[str, Any]], signature: dict[str, Any]) -> None:
    for name, detail in signature.items():
        index = int(detail["index"])
        if index in details:
            details[index] = (name, details[index][1])


def _spec(name: str, detail: Any) -> TensorSpec:
    signature = detail.get("shape_signature")
    shape = detail["shape"] if signature is None or len(signature) != len(detail["shape"]) else signature
    parameters = detail["quantization_parameters"]
    scales = tuple(float(s) for s in parameters["scales"])
    zero_points = tuple(int(z) for z in parameters["zero_points"]) or (0,) * len(scales)
    dtype = np.dtype(detail["dtype"]).name
    return TensorSpec(
        name=name,
        dtype="str" if dtype.startswith(("bytes", "str", "object")) else dtype,
        shape=tuple(None if n < 0 else int(n) for n in shape),
        quantization=Quantization(
            scale=scales,
            zero_point=zero_points,
            axis=int(parameters["quantized_dimension"]) if len(scales) > 1 else None,
        )
        if scales
        else None,
    )
