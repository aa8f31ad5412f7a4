"""An artifact and its manifest: the only thing that goes to devices."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import DataError, VerificationError
from tinsmith.runtime.fields import Fields, fields_of
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.tensors import Quantization, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "Artifact",
    "DataFile",
    "Lineage",
    "OperatorUse",
    "artifact_of",
    "manifest_path",
    "manifest_text",
    "read_artifact",
]

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorUse:
    """One kind of operator in an artifact.

    Attributes:
        name: TFLite's builtin or custom name, or ONNX's ``domain.Name`` (the plain name in the default domain).
        version: TFLite's operator version; ONNX's opset version of the domain.
        count: How many times it stands in the graph.
        precision: What it computes in, read from the types of its tensors: ``float32``, ``float16``, ``int8``,
            ``int16x8``, ``int4``, ``dynamic-int8``, ``dynamic-int4``, ``weight-only-int8``, ``weight-only-int4``,
            ``integer`` for indices, ``unknown``, and ``-`` where it only moves data.
        custom: Whether it is no builtin of its format: its own code must be on the device.
    """

    name: str
    version: int
    count: int
    precision: str
    custom: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where an artifact comes from; holds no time and no path, so that the same work gives the same bytes.

    Attributes:
        source: The name of the model it was made from.
        source_format: One of the five formats.
        source_sha256: Of the model's file, or of the files in its folder.
        steps: What was done, in order, each step in full.
        seed: Of all chance.
        data_sha256: Of the dataset that calibrated it; empty when none was used.
        tools: Package versions that took part.
        device: The profile that it was made for; empty where none was named.
    """

    source: str
    source_format: str
    source_sha256: str
    steps: tuple[Mapping[str, Any], ...]
    seed: int = 0
    data_sha256: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file beside an artifact that holds its weights (ONNX's external data).

    Attributes:
        name: In the artifact's folder.
        sha256: Of its content, 64 hex digits.
        size_bytes: Of its content.
    """

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A converted file with what is known of it.

    Attributes:
        path: The .tflite or .onnx file.
        format: ``tflite`` or ``onnx``.
        sha256: Of the file, 64 hex digits.
        size_bytes: Of the file.
        inputs: What goes in.
        outputs: What comes out.
        operators: What the engine must be able to run.
        lineage: Where it comes from.
        data: Files beside it that it can't do without; none but for large .onnx models.
        needs: What else the engine must have: ``ONNX IR``, or the ``TFLite runtime`` that the file names.
        activation_bytes: What activations take at once at batch 1, an estimate; None where nobody could say.
    """

    path: Path
    format: str
    sha256: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[OperatorUse, ...]
    lineage: Lineage
    data: tuple[DataFile, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    activation_bytes: int | None = None

    @property
    def total_bytes(self) -> int:
        """With the files beside it."""
        return self.size_bytes + sum(file.size_bytes for file in self.data)

    def to_json(self) -> dict[str, Any]:
        """The manifest."""
        data = {"data": [asdict(file) for file in self.data]} if self.data else {}
        activations = {} if self.activation_bytes is None else {"activation_bytes": self.activation_bytes}
        return {
            "schema": _SCHEMA,
            "file": self.path.name,
            "format": self.format,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "operators": [asdict(use) for use in self.operators],
            "needs": dict(self.needs),
            "lineage": {**asdict(self.lineage), "steps": list(self.lineage.steps)},
            **data,
            **activations,
        }


def manifest_path(artifact: Path) -> Path:
    """The manifest lies beside its artifact: ``small.tflite`` has ``small.tflite.json``."""
    return artifact.with_name(artifact.name + ".json")


def manifest_text(artifact: Artifact) -> str:
    """The manifest as it stands in its file; the same artifact gives the same bytes."""
    return json.dumps(artifact.to_json(), indent=2, sort_keys=True) + "\n"


def read_artifact(path: Path) -> Artifact:
    """Read an artifact's manifest and hold the file against it.

    Raises:
        DataError: There is no manifest, or it is damaged or of a newer schema.
        VerificationError: The file, or one of those beside it, is not the one that the manifest was written for.
    """
    try:
        content = manifest_path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{path} has no manifest beside it", hint="make it with tinsmith convert or compress"
        ) from error
    name = str(manifest_path(path))
    fields = fields_of(content, of=name)
    if "file" in fields:
        fields.text("file")  # as it was called when it was written
    artifact = artifact_of(path, fields)
    _hold(path, artifact.sha256)
    for file in artifact.data:
        _hold(path.parent / file.name, file.sha256)
    return artifact


def _hold(path: Path, sha256: str) -> None:
    if not path.is_file() or sha256_of(path) != sha256:
        raise VerificationError(
            f"{path} is not the file that its manifest was written for", hint="make the artifact again"
        )


def artifact_of(path: Path, fields: Fields) -> Artifact:
    """Read what ``Artifact.to_json`` wrote, every field held to its type.

    Args:
        path: Where the artifact lies.
        fields: The document, from which ``file`` is taken already.

    Raises:
        DataError: A field is missing, unknown or of another type, or the schema is newer.
    """
    fields.schema(_SCHEMA)
    artifact = Artifact(
        path=path,
        format=fields.one_of("format", ("tflite", "onnx")),
        sha256=fields.sha256("sha256"),
        size_bytes=fields.count("size_bytes", least=0),
        inputs=tuple(_spec(spec) for spec in fields.many("inputs")),
        outputs=tuple(_spec(spec) for spec in fields.many("outputs")),
        operators=tuple(_use(use) for use in fields.many("operators")),
        lineage=_lineage(fields.table("lineage")),
        data=tuple(_data_file(file) for file in fields.many("data")) if "data" in fields else (),
        needs=fields.table("needs").each(Fields.word) if "needs" in fields else {},
        activation_bytes=fields.maybe_count("activation_bytes", least=0),
    )
    fields.end()
    return artifact


def _spec(fields: Fields) -> TensorSpec:
    spec = TensorSpec(
        name=fields.word("name"),
        dtype=fields.text("dtype"),
        shape=fields.wholes("shape", least=0, free=True),
        quantization=None if (inner := fields.maybe("quantization")) is None else _quantization(inner),
    )
    fields.end()
    return spec


def _quantization(fields: Fields) -> Quantization:
    found = Quantization(
        scale=fields.numbers("scale"),
        zero_point=fields.wholes("zero_point"),
        axis=None if fields.null("axis") else fields.count("axis", least=0),
    )
    fields.end()
    if not found.scale or len(found.scale) != len(found.zero_point) or min(found.scale) <= 0:
        raise fields.wrong("says a quantization without a positive scale for every zero point")
    return found


def _use(fields: Fields) -> OperatorUse:
    use = OperatorUse(
        name=fields.word("name"),
        version=fields.count("version", least=0),
        count=fields.count("count", least=0),
        precision=fields.word("precision"),
        custom=fields.flag("custom") if "custom" in fields else False,
    )
    fields.end()
    return use


def _data_file(fields: Fields) -> DataFile:
    file = DataFile(
        name=fields.text("name"), sha256=fields.sha256("sha256"), size_bytes=fields.count("size_bytes", least=0)
    )
    fields.end()
    return file


def _lineage(fields: Fields) -> Lineage:
    lineage = Lineage(
        source=fields.word("source"),
        source_format=fields.word("source_format"),
        source_sha256=fields.word("source_sha256"),
        steps=fields.objects("steps"),
        seed=fields.count("seed", least=0) if "seed" in fields else 0,
        data_sha256=fields.word("data_sha256") if "data_sha256" in fields else "",
        tools=fields.table("tools").each(Fields.word) if "tools" in fields else {},
        device=fields.word("device") if "device" in fields else "",
    )
    fields.end()
    return lineage
