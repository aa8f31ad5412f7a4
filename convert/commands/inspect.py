"""``tinsmith inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import facts, print_result, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import RenderableType

    from tinsmith.convert.inspection import ArtifactInspection, TrainedInspection
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["inspect"]


@click.command()
@options.model_argument
@options.format_option
def inspect(model: Path, output_format: str) -> None:
    """Show what a model holds, costs and needs.

    Nothing of the model is run, and for .tflite and .onnx no TensorFlow is needed.
    """
    from tinsmith.convert.inspection import ArtifactInspection, inspect_model

    found = inspect_model(model)
    view = _artifact_view(found) if isinstance(found, ArtifactInspection) else _trained_view(found)
    print_result(output_format, {"inspection": found.to_json()}, view)


def _artifact_view(found: ArtifactInspection) -> list[RenderableType]:
    weights = found.weights
    overhead = found.file_bytes - weights.constant_bytes
    shown: list[tuple[str, object]] = [
        ("file", f"{found.path} ({found.format}), sha256 {found.sha256[:16]}…"),
        ("size", f"{found.file_bytes:,} bytes; {found.zip_bytes:,} deflated"),
        ("weights", f"{weights.constant_bytes:,} bytes, {weights.parameters:,} parameters"),
        ("overhead", f"{overhead:,} bytes ({overhead / found.file_bytes:.0%}){_parts(found.overhead)}"),
        ("zeros", f"{weights.zeros:.1%} of the weights; {weights.near_zeros:.1%} too small to move an output"),
        ("dead channels", f"{weights.dead_channels:,} of {weights.channels:,}"),
        ("MACs", f"{found.macs:,} a sample"),
        ("precision", ", ".join(f"{share:.0%} {name}" for name, share in found.precision_shares.items()) or "-"),
        *(("input", _tensor(spec)) for spec in found.inputs),
        *(("output", _tensor(spec)) for spec in found.outputs),
        *((f"needs {what}", version) for what, version in found.needs.items()),
        *((f"metadata {name}", value) for name, value in found.metadata.items()),
        *(("remark", remark) for remark in found.remarks),
    ]
    operators = [[use.name, use.version, use.count, use.precision] for use in found.operators]
    return [facts(shown), "", table(["operator", "version", "count", "precision"], operators)]


def _trained_view(found: TrainedInspection) -> list[RenderableType]:
    view = found.view
    shown: list[tuple[str, object]] = [
        ("file", f"{found.path} ({found.format}), sha256 {found.sha256[:16]}…"),
        ("size", f"{found.file_bytes:,} bytes"),
        ("written by", view.writer),
        ("weights", f"{view.weight_bytes:,} bytes, {view.parameters:,} parameters"),
        *([("unsafe", f"{', '.join(view.unsafe)}: runs code of the file's author")] if view.unsafe else []),
    ]
    kind = "operator" if found.format == "savedmodel" else "layer"
    return [facts(shown), "", table([kind, "count"], [[name, count] for name, count in view.layers])]


def _parts(overhead: Mapping[str, int]) -> str:
    parts = [f"{name} {size:,}" for name, size in overhead.items() if size]
    return f": {', '.join(parts)}, rest structure" if parts else ""


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join("?" if n is None else str(n) for n in spec.shape)
    scale = spec.quantization
    grid = f", scale {scale.scale[0]:.6g}, zero point {scale.zero_point[0]}" if scale and scale.axis is None else ""
    return f"{spec.name} {spec.dtype}[{shape}]{grid}"
