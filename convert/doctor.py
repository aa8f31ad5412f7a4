"""What this machine has, and what it lacks for which command."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from tinsmith.convert.onnx2tf import find_onnx2tf
from tinsmith.runtime.engines import ENGINES

__all__ = ["Finding", "examine"]

_LEAST_FREE_BYTES = 2 << 30

# distribution, extra that installs it (empty: the plain install), what it is needed for
_PACKAGES = (
    ("numpy", "", "everything that runs a model"),
    ("tensorflow", "tensorflow", "Keras and SavedModel in, TFLite out"),
    ("keras", "tensorflow", "Keras 3 models"),
    ("tf-keras", "tensorflow", "older Keras and HDF5 models"),
    ("tensorflow-model-optimization", "tensorflow", "pruning, clustering, quantization-aware training"),
    ("ai-edge-quantizer", "tensorflow", "quantizing .tflite"),
    ("tf2onnx", "onnx", "ONNX out"),
    ("onnx", "onnx", "ONNX in and out"),
    ("Pillow", "images", "datasets of images"),
    ("scikit-learn", "demo", "the demo's data"),
    ("mlflow-skinny", "tracking", "compress --mlflow, search --mlflow"),
    ("wandb", "tracking", "compress --wandb, search --wandb"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What.
        state: ``ok``, ``missing`` (only some commands need it) or ``bad``.
        found: What was found.
        needed_for: Who needs it.
        mend: The command that mends it; empty where there is nothing to mend.
    """

    subject: str
    state: Literal["ok", "missing", "bad"]
    found: str
    needed_for: str
    mend: str = ""

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def examine() -> tuple[Finding, ...]:
    """Look at Python, packages, engines, space and outside programs; changes nothing."""
    return (
        _python(),
        *(_package(*package) for package in _PACKAGES),
        *(_engine(choice.name, choice.package, choice.extra) for choice in ENGINES),
        _onnx2tf(),
        _space(),
    )


def _python() -> Finding:
    version = platform.python_version()
    tried = (3, 11) <= tuple(map(int, platform.python_version_tuple()[:2])) <= (3, 13)
    return Finding(
        subject="Python",
        state="ok" if tried else "bad",
        found=f"{version} on {platform.machine()}, {os.cpu_count()} cores",
        needed_for="everything (3.11 to 3.13; boards also 3.10)",
        mend="" if tried else "make a virtual environment with Python 3.11, 3.12 or 3.13",
    )


def _package(name: str, extra: str, needed_for: str) -> Finding:
    version = _version(name)
    return Finding(
        subject=name,
        state="ok" if version else "missing",
        found=version or "not installed",
        needed_for=needed_for,
        mend="" if version else _install(extra),
    )


def _engine(name: str, package: str, extra: str) -> Finding:
    version = _version(package)
    numpy = _version("numpy") or "0"
    unusable = name == "tflite-runtime" and version is not None and not numpy.startswith("1.")
    found = f"{version}, but it can't work with numpy {numpy}" if unusable else version or "not installed"
    return Finding(
        subject=f"engine {name}",
        state="bad" if unusable else "ok" if version else "missing",
        found=found,
        needed_for="32-bit Arm boards" if name == "tflite-runtime" else f"running .{_runs(name)} files",
        mend="" if version and not unusable else _install(extra),
    )


def _onnx2tf() -> Finding:
    program = find_onnx2tf()
    return Finding(
        subject="onnx2tf",
        state="ok" if program else "missing",
        found=str(program) if program else "not found",
        needed_for="ONNX in, TFLite out",
        mend="" if program else "tinsmith convert prints the command that makes its environment",
    )


def _space() -> Finding:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    return Finding(
        subject="temporary space",
        state="ok" if free >= _LEAST_FREE_BYTES else "bad",
        found=f"{free / 2**30:.1f} GiB free in {folder}",
        needed_for="conversions",
        mend="" if free >= _LEAST_FREE_BYTES else "free some space, or point TMPDIR to another disk",
    )


def _runs(engine: str) -> str:
    return next(choice.formats[0] for choice in ENGINES if choice.name == engine)


def _install(extra: str) -> str:
    return f'pip install "tinsmith[{extra}]"' if extra else "pip install tinsmith"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
