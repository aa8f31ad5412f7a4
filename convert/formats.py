"""Which format turns into which: the one table behind ``tinsmith formats``, the README and the planner."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinsmith.convert.model import Format

__all__ = ["FORMATS", "FORMAT_COLUMNS", "FormatRow", "format_rows", "formats_document", "markdown_table", "sources_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatRow:
    """One format that tinsmith reads.

    Attributes:
        format: Its name in reports.
        files: How it lies on disk.
        to_tflite: By what it becomes TFLite.
        to_onnx: By what it becomes ONNX.
        engine: What runs it.
        needs: The extra that brings all of that; empty for the plain install.
    """

    format: Format
    files: str
    to_tflite: str
    to_onnx: str
    engine: str
    needs: str


FORMATS = (
    FormatRow(
        format="keras",
        files=".keras",
        to_tflite="TensorFlow",
        to_onnx="tf2onnx",
        engine="Keras 3 or tf_keras",
        needs="tensorflow, onnx",
    ),
    FormatRow(
        format="hdf5",
        files=".h5 .hdf5",
        to_tflite="TensorFlow",
        to_onnx="tf2onnx",
        engine="Keras 3 or tf_keras",
        needs="tensorflow, onnx",
    ),
    FormatRow(
        format="savedmodel",
        files="folder",
        to_tflite="TensorFlow",
        to_onnx="tf2onnx",
        engine="TensorFlow",
        needs="tensorflow, onnx",
    ),
    FormatRow(
        format="tflite",
        files=".tflite",
        to_tflite="as it is",
        to_onnx="tf2onnx",
        engine="litert, tflite-runtime",
        needs="to ONNX: tensorflow, onnx",
    ),
    FormatRow(
        format="onnx",
        files=".onnx",
        to_tflite="onnx2tf, in its own environment",
        to_onnx="as it is",
        engine="onnxruntime",
        needs="onnx",
    ),
)

FORMAT_COLUMNS = ("format", "files", "to .tflite", "to .onnx", "runs in", "extra")


def sources_of(target: str) -> tuple[Format, ...]:
    """The formats that a conversion to ``target`` starts from."""
    return tuple(row.format for row in FORMATS if row.format != target)


def format_rows() -> list[list[str]]:
    """The table, row by row."""
    return [[row.format, row.files, row.to_tflite, row.to_onnx, row.engine, row.needs or "-"] for row in FORMATS]


def formats_document() -> dict[str, Any]:
    """The table for machines."""
    return {"formats": [asdict(row) for row in FORMATS]}


def markdown_table() -> str:
    """The table as it stands in the README."""
    lines = [FORMAT_COLUMNS, ["---"] * len(FORMAT_COLUMNS), *format_rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
