"""How a calibration is shown; ``calibrate`` and ``ranges`` print the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.runtime.commands.output import facts, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tinsmith.convert.calibration import Calibration, Method

__all__ = ["document_of", "overview_of", "tensors_of"]


def document_of(calibration: Calibration) -> dict[str, Any]:
    """Everything, for machines: the ranges and movements of every method that it serves."""
    return {
        "model_sha256": calibration.model_sha256,
        "samples": calibration.samples,
        "methods": [_method_document(calibration, method) for method in _served(calibration)],
    }


def overview_of(calibration: Calibration) -> list[RenderableType]:
    """What it is of, and how the methods differ."""
    rows = [_method_row(calibration, method) for method in _served(calibration)]
    shown = [
        ("model sha256", calibration.model_sha256),
        ("samples", calibration.samples),
        ("tensors", len(calibration.tensors)),
    ]
    half = f"moved by at most, {calibration.samples // 2:,} to {calibration.samples:,} samples"
    return [facts(shown), table(["method", "kept of min-max", half, "where"], rows)]


def tensors_of(calibration: Calibration, method: Method) -> RenderableType:
    """The range of each tensor by one method."""
    moved = calibration.stability(method).movements
    rows = [
        [name, f"{found.low:.4g}", f"{found.high:.4g}", _share(moved.get(name))]
        for name, found in calibration.ranges(method).items()
    ]
    return table(["tensor", "low", "high", "moved"], rows, title=method.name)


def _served(calibration: Calibration) -> list[Method]:
    from tinsmith.convert.calibration import METHOD_NAMES, method_named

    methods = [method_named(name) for name in METHOD_NAMES]
    return [method for method in methods if method.detail == "extremes" or calibration.has_histograms]


def _method_row(calibration: Calibration, method: Method) -> list[object]:
    extremes, ranges = calibration.extremes, calibration.ranges(method)
    kept = [ranges[name].width / whole.width for name, whole in extremes.items() if whole.width]
    worst = calibration.stability(method).worst
    mean = f"{sum(kept) / len(kept):.1%}" if kept else "-"
    return [method.name, mean, _share(worst and worst[1]), worst and worst[0]]


def _method_document(calibration: Calibration, method: Method) -> dict[str, Any]:
    moved = calibration.stability(method).movements
    tensors = [
        {"name": name, "low": found.low, "high": found.high, "moved": moved.get(name)}
        for name, found in calibration.ranges(method).items()
    ]
    return {"method": method.name, "tensors": tensors}


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"
