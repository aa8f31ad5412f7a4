"""Look into a model file without running it."""

from __future__ import annotations

import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tinsmith.convert.inspection.costs import macs_of
from tinsmith.convert.inspection.memory import activation_bytes
from tinsmith.convert.inspection.onnx_graph import read_onnx
from tinsmith.convert.inspection.precision import Precisions, count_uses
from tinsmith.convert.inspection.remarks import remarks
from tinsmith.convert.inspection.saturation import find_saturation
from tinsmith.convert.inspection.savedmodel_view import view_savedmodel
from tinsmith.convert.inspection.sizes import Sizes, deflated_bytes, deflated_estimate
from tinsmith.convert.inspection.text import plain
from tinsmith.convert.inspection.tflite_graph import read_tflite
from tinsmith.convert.inspection.trained_view import TrainedView, view_hdf5, view_keras
from tinsmith.convert.inspection.weights import Weights, weigh
from tinsmith.convert.model import identify
from tinsmith.runtime.errors import ModelLoadError, TinsmithError, first_line
from tinsmith.runtime.files import bytes_of, sha256_of
from tinsmith.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tinsmith.convert.inspection.graph import Graph, Tensor
    from tinsmith.convert.inspection.saturation import Saturation
    from tinsmith.convert.model import Model
    from tinsmith.runtime.artifact import OperatorUse

__all__ = [
    "ArtifactInspection",
    "Requirements",
    "TrainedInspection",
    "inspect_model",
    "operator_precisions",
    "requirements_of",
    "saturation_of",
    "sizes_of",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInspection:
    """What stands in a .tflite or .onnx file.

    Attributes:
        path: The file.
        format: ``tflite`` or ``onnx``.
        sha256: Of the file.
        file_bytes: Of the file.
        external_bytes: Of weights in files beside it (ONNX's external data).
        zip_bytes: The file alone, deflated at level 9: about what a download costs.
        activation_bytes: An estimate of the memory for activations at batch 1; None where shapes are not known. See
            ``memory.activation_bytes``.
        inputs: What goes in; under the signature's names where there is one signature.
        outputs: What comes out.
        operators: By name, version and true precision.
        custom: Operators that are no builtins: their own code must be on the device.
        macs: Multiply-accumulates for one sample, free axes taken as 1 and loops as run once.
        uncounted: Operators that multiply and that ``macs`` leaves out.
        precision_shares: Share of the multiply-accumulates in each precision, 0 to 1; of the operators, where nothing
            multiplies.
        weights: What is stored, and how much of it does nothing.
        overhead: Bytes of known parts of the file that are no weights, by name.
        needs: What must be there to run it.
        metadata: Entries that the author or a tool left.
        remarks: What a reader should not miss, such as a name that lies.
    """

    path: Path
    format: str
    sha256: str
    file_bytes: int
    external_bytes: int
    zip_bytes: int
    activation_bytes: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[OperatorUse, ...]
    custom: tuple[str, ...]
    macs: int
    uncounted: tuple[str, ...]
    precision_shares: Mapping[str, float]
    weights: Weights
    overhead: Mapping[str, int]
    needs: Mapping[str, str]
    metadata: Mapping[str, str]
    remarks: tuple[str, ...]

    @property
    def overhead_bytes(self) -> int:
        """What the file holds besides its constants."""
        return self.file_bytes + self.external_bytes - self.weights.constant_bytes

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            **asdict(self),
            "path": str(self.path),
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "overhead_bytes": self.overhead_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedInspection:
    """What stands in the files of a Keras model or SavedModel, as far as it can be read without building it.

    Attributes:
        path: The file or folder.
        format: ``keras``, ``hdf5`` or ``savedmodel``.
        sha256: Of the file, or of the files in the folder.
        file_bytes: Of the file, or of the files in the folder.
        view: What they say.
    """

    path: Path
    format: str
    sha256: str
    file_bytes: int
    view: TrainedView

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "path": str(self.path)}


def inspect_model(path: Path) -> ArtifactInspection | TrainedInspection:
    """Look into a model of any of the five formats; nothing of it is run.

    Raises:
        ModelLoadError: There is no model, or it is damaged.
        MissingDependencyError: The package that reads this format is not installed.
    """
    model = identify(path)
    if model.is_artifact:
        return _inspect_artifact(model)
    return TrainedInspection(
        path=path,
        format=model.format,
        sha256=sha256_of(path),
        file_bytes=bytes_of(path),
        view=_translated(path, lambda: _TRAINED[model.format](path)),
    )


_TRAINED = {"keras": view_keras, "hdf5": view_hdf5, "savedmodel": view_savedmodel}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What an engine must have to run an artifact.

    Attributes:
        format: ``tflite`` or ``onnx``.
        operators: By name, version and true precision.
        needs: What must be there besides: version of the runtime, opsets.
        activation_bytes: What activations take at once, an estimate; None where a shape is open.
    """

    format: str
    operators: tuple[OperatorUse, ...]
    needs: Mapping[str, str]
    activation_bytes: int | None


def operator_precisions(path: Path) -> tuple[OperatorUse, ...]:
    """The operators of an artifact with their versions and true precision; raises as ``requirements_of``."""
    return requirements_of(path).operators


def requirements_of(path: Path) -> Requirements:
    """What an artifact needs; raises as ``inspect_model``, and ``ModelLoadError`` for a model that is none."""
    graph = _artifact_graph(path)
    uses = _translated(path, lambda: count_uses(graph))
    activations = _translated(path, lambda: activation_bytes(graph))
    return Requirements(format=graph.format, operators=uses, needs=graph.needs, activation_bytes=activations)


def saturation_of(path: Path) -> Saturation:
    """Where sums can saturate on x86 CPUs without VNNI; raises as ``requirements_of``."""
    graph = _artifact_graph(path)
    return _translated(path, lambda: find_saturation(graph))


def _artifact_graph(path: Path) -> Graph:
    model = identify(path)
    if not model.is_artifact:
        raise ModelLoadError(
            f"{path} is a {model.format} model; only .tflite and .onnx files have operators with a precision",
            hint="`tinsmith convert` turns it into one",
        )
    return _read(model)


def ends_of(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What goes into an artifact and what comes out, as its file says; raises as ``inspect_model``."""
    graph = _read(identify(path))
    return tuple(_spec(tensor) for tensor in graph.inputs), tuple(_spec(tensor) for tensor in graph.outputs)


def sizes_of(path: Path) -> Sizes:
    """The sizes of an artifact, kept apart; raises as ``inspect_model``."""
    graph = _read(identify(path))
    zipped = [deflated_estimate(file) for file in (path, *graph.files)]
    return Sizes(
        file_bytes=path.stat().st_size,
        external_bytes=graph.external_bytes,
        zip_bytes=sum(size for size, _ in zipped),
        zip_estimated=any(estimated for _, estimated in zipped),
        activation_bytes=activation_bytes(graph),
    )


def _inspect_artifact(model: Model) -> ArtifactInspection:
    path = model.path
    with ThreadPoolExecutor(max_workers=1) as pool:  # deflating releases the interpreter
        zipped = pool.submit(deflated_bytes, path)
        graph = _read(model)
        uses, costs, weights = _translated(path, lambda: (count_uses(graph), _costs(graph), weigh(graph)))
    return ArtifactInspection(
        path=path,
        format=graph.format,
        sha256=sha256_of(path),
        file_bytes=path.stat().st_size,
        external_bytes=graph.external_bytes,
        zip_bytes=zipped.result(),
        activation_bytes=activation_bytes(graph),
        inputs=tuple(_spec(tensor) for tensor in graph.inputs),
        outputs=tuple(_spec(tensor) for tensor in graph.outputs),
        operators=uses,
        custom=tuple(sorted({operator.name for operator in graph.operators if operator.custom})),
        macs=costs.macs,
        uncounted=costs.uncounted,
        precision_shares=costs.shares,
        weights=weights,
        overhead=graph.overhead,
        needs=graph.needs,
        metadata=graph.metadata,
        remarks=remarks(path, graph, costs.shares),
    )


def _read(model: Model) -> Graph:
    read = read_tflite if model.format == "tflite" else read_onnx
    return _translated(model.path, lambda: read(model.path))


def _translated(path: Path, read: Callable[[], _T]) -> _T:
    """Turn whatever a damaged file makes a reader raise into one error of ours."""
    try:
        return read()
    except TinsmithError:
        raise
    except struct.error as error:
        raise ModelLoadError(
            f"{path} is damaged: an offset in it points beyond its end, as in a file that was cut off",
            hint="get the file again from its source",
        ) from error
    except Exception as error:  # damaged offsets and lengths raise anything, from struct.error to MemoryError
        raise ModelLoadError(
            f"{path} is damaged: {plain(first_line(error))[:200]} ({type(error).__name__})",
            hint="get the file again from its source",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    macs: int
    shares: Mapping[str, float]
    uncounted: tuple[str, ...]


def _costs(graph: Graph) -> _Costs:
    precisions = Precisions(graph)
    macs: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    uncounted = set()
    for operator in graph.operators:
        precision = precisions.of(operator)
        count = macs_of(operator)
        macs[precision] += count or 0
        operators[precision] += 1
        if count is None:
            uncounted.add(operator.name)
    total = sum(macs.values())
    counted = macs if total else Counter({name: n for name, n in operators.items() if name not in ("-", "integer")})
    whole = sum(counted.values()) or 1
    shares = {name: n / whole for name, n in counted.most_common() if n}
    return _Costs(macs=total, shares=shares, uncounted=tuple(sorted(uncounted)))


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, quantization=tensor.quantization)
