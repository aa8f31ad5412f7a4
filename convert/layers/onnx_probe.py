"""An .onnx file taken apart: its tensors become outputs, and its graph is rewired to cut it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.convert.inspection.onnx_shapes import inferred
from tinsmith.convert.layers.probe import cannot_run
from tinsmith.convert.layers.wiring import DEQUANTIZING, QUANTIZING, Grid, Node, Value, Wiring
from tinsmith.runtime.engines.ort import OrtEngine
from tinsmith.runtime.errors import ModelError, ModelLoadError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.layers.probe import Runner

    Array = NDArray[np.generic]

__all__ = ["OnnxProbe"]

_NEEDED_FOR = "comparing .onnx files layer by layer"
_SILENT = 3  # errors still reach us as exceptions
_GRIDS = frozenset({"int8", "uint8", "int16", "uint16"})
_FED = "/fed"
# The axis of the output channels in stored weights.
_WEIGHT_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """Weights as they lie in the file: floats, or integers behind a DequantizeLinear."""

    numbers: Array
    scales: Array | None = None
    points: Array | None = None


class OnnxProbe:
    """See ``Probe``. Runs on onnxruntime as it optimizes any model; what is brought to light is not fused away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._onnx = require("onnx", needed_for=_NEEDED_FOR)
        try:
            self._model = self._onnx.load(str(path))
        except Exception as error:  # protobuf's DecodeError and more, which share no base
            raise ModelLoadError(f"{path} is damaged: {first_line(error)}") from error
        self._stored = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._dequantized = {
            node.output[0]: node
            for node in self._model.graph.node
            if node.op_type in DEQUANTIZING and node.input[0] in self._stored
        }
        self.wiring = self._wiring()
        self.inputs = OrtEngine(self._session(self._model), version="", accelerator="cpu").inputs

    def observing(self, names: Sequence[str]) -> Runner:
        """See ``Probe.observing``."""
        model = self._copy()
        self._bring_out(model, names)
        return self._runner(self._session(model), {name: name for name in self.wiring.inputs}, names)

    def apart(self, names: Sequence[str]) -> Runner:
        """See ``Probe.apart``."""
        model = self._copy()
        fed = {name: f"{name}{_FED}" for name in names}
        for node in model.graph.node:
            for at, given in enumerate(node.input):
                node.input[at] = fed.get(given, given)
        for name, stand_in in fed.items():
            model.graph.input.append(self._onnx.helper.make_tensor_value_info(stand_in, self._type(name), None))
        del model.graph.output[:]
        self._bring_out(model, names)
        return self._runner(self._session(model), {name: name for name in self.wiring.inputs} | fed, names)

    def weights(self, name: str) -> tuple[NDArray[np.float32], int] | None:
        """See ``Probe.weights``."""
        node = self.wiring.producers.get(name)
        if node is None or node.weights is None:
            return None
        found = self._weights(node.weights)
        axis = _WEIGHT_AXES[node.operator] % found.numbers.ndim
        if self._turned(name):
            axis = 0
        real = found.numbers.astype(np.float32)
        shape = [-1 if n == axis else 1 for n in range(real.ndim)]
        if found.scales is not None and found.scales.size in (1, real.shape[axis]):
            points = np.float32(0) if found.points is None else found.points.astype(np.float32).reshape(-1)
            real = (real - np.resize(points, found.scales.size).reshape(shape)) * found.scales.astype(
                np.float32
            ).reshape(shape)
        others = tuple(n for n in range(real.ndim) if n != axis)
        return np.abs(real).max(axis=others), 0 if found.scales is None else int(found.scales.size)

    def _turned(self, output: str) -> bool:
        """Whether a Gemm takes its weights transposed."""
        node = next(node for node in self._model.graph.node if output in node.output)
        return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)

    def _weights(self, name: str) -> _Stored:
        to_array = self._onnx.numpy_helper.to_array
        if name in self._stored:
            return _Stored(numbers=to_array(self._stored[name]))
        numbers, *parameters = (to_array(self._stored[given]) for given in self._dequantized[name].input)
        return _Stored(numbers=numbers, scales=parameters[0], points=parameters[1] if len(parameters) > 1 else None)

    def _wiring(self) -> Wiring:
        graph = self._model.graph
        inputs = tuple(entry.name for entry in graph.input if entry.name not in self._stored)
        nodes, live = [], set(inputs)
        for node in graph.node:
            given = tuple(name for name in node.input if name in live)
            if given:
                outputs = tuple(name for name in node.output if name)
                nodes.append(
                    Node(operator=node.op_type, inputs=given, outputs=outputs, weights=self._weights_of(node, given))
                )
                live.update(outputs)
        values = {value.name: value for value in self._values(live)}
        return Wiring(
            format="onnx", nodes=tuple(nodes), values=values, inputs=inputs, outputs=tuple(e.name for e in graph.output)
        )

    def _weights_of(self, node: Any, given: tuple[str, ...]) -> str | None:
        if node.op_type not in _WEIGHT_AXES or len(node.input) < 2 or node.input[1] in given:
            return None
        name = str(node.input[1])
        return name if name in self._stored or name in self._dequantized else None

    def _values(self, live: set[str]) -> Iterator[Value]:
        shapes = inferred(self._onnx, self._model)
        grids = dict(self._grids())
        declared = {entry.name: entry for entry in (*shapes.value_info, *shapes.input, *shapes.output)}
        for name in sorted(live):
            dtype, shape = _declared(self._onnx, declared.get(name))
            grid = grids.get(name)
            yield Value(name=name, dtype=dtype if grid is None else grid.dtype, shape=shape, grid=grid)

    def _grids(self) -> Iterator[tuple[str, Grid]]:
        """The computed tensors that hold integers with one scale, which QuantizeLinear gives and takes."""
        for node in self._model.graph.node:
            if node.op_type not in QUANTIZING | DEQUANTIZING or any(n not in self._stored for n in node.input[1:]):
                continue
            to_array = self._onnx.numpy_helper.to_array
            scale, *rest = (to_array(self._stored[name]) for name in node.input[1:3])
            point = rest[0] if rest else np.zeros((), np.uint8)
            if scale.size == 1 and point.dtype.name in _GRIDS:
                name = node.output[0] if node.op_type in QUANTIZING else node.input[0]
                grid = Grid(scale=float(scale.reshape(())), zero_point=int(point.reshape(())), dtype=point.dtype.name)
                yield name, grid

    def _copy(self) -> Any:
        model = self._onnx.ModelProto()
        model.CopyFrom(self._model)
        return model

    def _type(self, name: str) -> int:
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.wiring.values[name].dtype)))

    def _bring_out(self, model: Any, names: Sequence[str]) -> None:
        there = {entry.name for entry in (*model.graph.output, *model.graph.input)}
        for name in names:
            if name not in there:
                model.graph.output.append(self._onnx.helper.make_tensor_value_info(name, self._type(name), None))

    def _session(self, model: Any) -> Any:
        onnxruntime = require("onnxruntime", needed_for=_NEEDED_FOR)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        try:
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base; protobuf's too large a message is a ValueError
            raise cannot_run(self._path, first_line(error)) from error

    def _runner(self, session: Any, fed: Mapping[str, str], names: Sequence[str]) -> Runner:
        given = {name for name in names if name in self.wiring.inputs}
        asked = [name for name in names if name not in given]

        def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
            try:
                found = session.run(asked, {stand_in: feeds[name] for name, stand_in in fed.items()})
            except Exception as error:  # onnxruntime's exceptions share no base of their own
                raise ModelError(f"{self._path.name} failed while it ran: {first_line(error)}") from error
            return {**dict(zip(asked, found, strict=True)), **{name: feeds[name] for name in given}}

        return run


def _declared(onnx: Any, entry: Any) -> tuple[str, tuple[int | None, ...]]:
    if entry is None or not entry.type.tensor_type.elem_type:
        return "", ()
    kind = entry.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    return dtype, tuple(n.dim_value if n.HasField("dim_value") else None for n in kind.shape.dim)
