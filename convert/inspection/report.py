"""Look into a model file without running it."""

from __future__ import annotations

import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tinsmith.convert.inspection.costs import Weights, macs_of, weigh
from tinsmith.convert.inspection.onnx_graph import read_onnx
from tinsmith.convert.inspection.precision import Precisions, count_uses
from tinsmith.convert.inspection.tflite_graph import read_tflite
from tinsmith.convert.inspection.trained_view import TrainedView, view_trained
from tinsmith.convert.model import identify
from tinsmith.runtime.errors import ModelLoadError, TinsmithError, first_line
from tinsmith.runtime.files import bytes_of, sha256_of
from tinsmith.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tinsmith.convert.inspection.graph import Graph, Tensor
    from tinsmith.convert.model import Model
    from tinsmith.runtime.artifact import OperatorUse

__all__ = ["ArtifactInspection", "TrainedInspection", "inspect_model", "operator_precisions"]

_T = TypeVar("_T")
_ZIP_LEVEL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInspection:
    """What stands in a .tflite or .onnx file.

    Attributes:
        path: The file.
        format: ``tflite`` or ``onnx``.
        sha256: Of the file.
        file_bytes: Of the file.
        zip_bytes: The same, deflated at level 6: about what a download costs.
        inputs: What goes in; names are those of the graph.
        outputs: What comes out.
        operators: By name, version and true precision.
        custom: Operators that are no builtins: their own code must be on the device.
        macs: Multiply-accumulates for one sample.
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
    zip_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[OperatorUse, ...]
    custom: tuple[str, ...]
    macs: int
    precision_shares: Mapping[str, float]
    weights: Weights
    overhead: Mapping[str, int]
    needs: Mapping[str, str]
    metadata: Mapping[str, str]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            **asdict(self),
            "path": str(self.path),
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "overhead_bytes": self.file_bytes - self.weights.constant_bytes,
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
        view=_translated(path, lambda: view_trained(path, model.format)),
    )


def operator_precisions(path: Path) -> tuple[OperatorUse, ...]:
    """The operators of an artifact with their versions and true precision; raises as ``inspect_model``."""
    return count_uses(_read(identify(path)))


def _inspect_artifact(model: Model) -> ArtifactInspection:
    path = model.path
    with ThreadPoolExecutor(max_workers=1) as pool:  # deflating releases the interpreter
        zipped = pool.submit(lambda: len(zlib.compress(path.read_bytes(), _ZIP_LEVEL)))
        graph = _read(model)
        uses = count_uses(graph)
        macs, shares = _translated(path, lambda: _shares(graph))
        weights = _translated(path, lambda: weigh(graph))
    return ArtifactInspection(
        path=path,
        format=graph.format,
        sha256=sha256_of(path),
        file_bytes=path.stat().st_size,
        zip_bytes=zipped.result(),
        inputs=tuple(_spec(tensor) for tensor in graph.inputs),
        outputs=tuple(_spec(tensor) for tensor in graph.outputs),
        operators=uses,
        custom=tuple(sorted({operator.name for operator in graph.operators if operator.custom})),
        macs=macs,
        precision_shares=shares,
        weights=weights,
        overhead=graph.overhead,
        needs=graph.needs,
        metadata=graph.metadata,
        remarks=tuple(_remarks(path, graph, shares)),
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
    except Exception as error:  # damaged offsets and lengths raise anything, from struct.error to MemoryError
        raise ModelLoadError(
            f"{path} is damaged: {type(error).__name__}: {first_line(error)[:200]}",
            hint="get the file again from its source",
        ) from error


def _shares(graph: Graph) -> tuple[int, dict[str, float]]:
    precisions = Precisions(graph)
    macs: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    for operator in graph.operators:
        precision = precisions.of(operator)
        macs[precision] += macs_of(graph, operator)
        operators[precision] += 1
    total = sum(macs.values())
    counted = macs if total else Counter({name: n for name, n in operators.items() if name != "-"})
    whole = sum(counted.values()) or 1
    return total, {name: n / whole for name, n in counted.most_common() if n}


def _remarks(path: Path, graph: Graph, shares: Mapping[str, float]) -> list[str]:
    found = []
    named = path.stem.lower()
    quantized = {name for name in shares if "int" in name and name != "integer"}
    if any(word in named for word in ("float32", "fp32", "float")) and quantized:
        found.append(f"the name says float, but it computes in {', '.join(sorted(quantized))}")
    if any(word in named for word in ("int8", "quant")) and not quantized and shares:
        found.append(f"the name says quantized, but it computes in {', '.join(shares)}")
    if flex := sorted({operator.name for operator in graph.operators if operator.custom}):
        found.append(f"{', '.join(flex)} must be there on the device: no builtin operators")
    if not graph.operators:
        found.append("it holds no operators")
    return found


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, quantization=tensor.quantization)
