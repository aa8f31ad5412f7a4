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
    from tinsmith.convert.suitability import Suitability
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["inspect"]


@click.command()
@options.model_argument
@click.option(
    "-d",
    "--device",
    "devices",
    type=options.DEVICE_NAME,
    multiple=True,
    help="Say whether it runs, and computes right, on this device or profile.",
)
@options.format_option
def inspect(model: Path, devices: tuple[str, ...], output_format: str) -> None:
    """Show what a model holds, costs and needs.

    Nothing of the model is run, and no TensorFlow is needed.
    """
    from tinsmith.convert.inspection import ArtifactInspection, inspect_model
    from tinsmith.convert.suitability import suitability_of
    from tinsmith.runtime.profile import load_profile

    profiles = [load_profile(device) for device in devices]
    found = inspect_model(model)
    suited = [suitability_of(model, profile) for profile in profiles]
    view = _artifact_view(found) if isinstance(found, ArtifactInspection) else _trained_view(found)
    document: dict[str, object] = {"inspection": found.to_json()}
    if suited:
        document["devices"] = [suitability.to_json() for suitability in suited]
    print_result(output_format, document, [*view, *(line for s in suited for line in ("", facts(_suited(s))))])


def _suited(suitability: Suitability) -> list[tuple[str, object]]:
    named = {"made for": "device"}
    return [(named.get(name, name), said) for name, said in suitability.facts()]


def _artifact_view(found: ArtifactInspection) -> list[RenderableType]:
    weights = found.weights
    beside = f" and {found.external_bytes:,} of external data" if found.external_bytes else ""
    missing = f", without {', '.join(found.uncounted)}" if found.uncounted else ""
    shown: list[tuple[str, object]] = [
        ("file", f"{found.path} ({found.format})"),
        ("sha256", found.sha256),
        ("size", f"{found.file_bytes:,} bytes{beside}; deflated {found.zip_bytes:,} (level 9)"),
        ("weights", f"{weights.constant_bytes:,} bytes, {weights.parameters:,} parameters"),
        (
            "overhead",
            f"{found.overhead_bytes:,} bytes ({found.overhead_bytes / found.file_bytes:.0%}){_parts(found.overhead)}",
        ),
        ("zeros", f"{weights.zeros:.1%} of the weights; {weights.near_zeros:.1%} too small to move an output"),
        ("dead channels", f"{weights.dead_channels:,} of {weights.channels:,}"),
        ("MACs", f"{found.macs:,} a sample{missing}"),
        ("activations", _activations(found)),
        ("precision", ", ".join(f"{share:.0%} {name}" for name, share in found.precision_shares.items()) or "-"),
        *(("input", _tensor(spec)) for spec in found.inputs),
        *(("output", _tensor(spec)) for spec in found.outputs),
        *(("needs", f"{what} {version}") for what, version in found.needs.items()),
        *(("metadata", f"{name}: {value}") for name, value in found.metadata.items()),
        *(("remark", remark) for remark in found.remarks),
    ]
    operators = [
        [use.name, use.version, use.count, use.precision, "custom" if use.name in found.custom else ""]
        for use in found.operators
    ]
    columns = ["operator", "opset" if found.format == "onnx" else "version", "count", "precision", ""]
    return [facts(shown), "", table(columns, operators)]


def _trained_view(found: TrainedInspection) -> list[RenderableType]:
    view = found.view
    said = "not stated in the files"
    shown: list[tuple[str, object]] = [
        ("file", f"{found.path} ({found.format})"),
        ("sha256", found.sha256),
        ("size", f"{found.file_bytes:,} bytes"),
        ("written by", view.writer),
        (
            "weights",
            said if view.parameters is None else f"{view.weight_bytes:,} bytes, {view.parameters:,} parameters",
        ),
        *(("input", _tensor(spec)) for spec in view.inputs),
        *(("output", _tensor(spec)) for spec in view.outputs),
        *([("unsafe", f"{', '.join(view.unsafe)}: runs code of the file's author")] if view.unsafe else []),
    ]
    return [facts(shown), "", table([view.kind, "count"], [[name, count] for name, count in view.layers])]


def _activations(found: ArtifactInspection) -> str:
    if found.activation_bytes is None:
        return "not known: a shape is open"
    return f"{found.activation_bytes:,} bytes at once, batch 1 (estimated)"


def _parts(overhead: Mapping[str, int]) -> str:
    parts = [f"{name} {size:,}" for name, size in overhead.items() if size]
    return f": {', '.join(parts)}, rest structure" if parts else ""


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join("?" if n is None else str(n) for n in spec.shape)
    scale = spec.quantization
    grid = f", scale {scale.scale[0]:.6g}, zero point {scale.zero_point[0]}" if scale and scale.axis is None else ""
    return f"{spec.name} {spec.dtype}[{shape}]{grid}"
