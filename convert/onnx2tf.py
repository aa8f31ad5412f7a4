"""ONNX to TFLite by the program onnx2tf, which pins an old stack and so lives in an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import HostError, ModelTimeoutError, UnsupportedOperatorError

__all__ = ["find_onnx2tf", "onnx_to_tflite"]

_ENVIRONMENT = Path("~/.local/share/tinsmith/onnx2tf")
_VARIABLE = "TINSMITH_ONNX2TF"
_TIME_LIMIT_S = 1800


def find_onnx2tf() -> Path | None:
    """The program: what TINSMITH_ONNX2TF names, else the environment that our hint makes, else the PATH."""
    candidates = (os.environ.get(_VARIABLE), str((_ENVIRONMENT / "bin" / "onnx2tf").expanduser()), "onnx2tf")
    for candidate in filter(None, candidates):
        if program := shutil.which(candidate):
            return Path(program)
    return None


def onnx_to_tflite(path: Path, *, batch: int | None) -> bytes:
    """Convert an .onnx file to a float32 .tflite.

    Inputs keep the shape that they have in the .onnx file (channels first stays channels first), so that the artifact
    takes what its source took.

    Args:
        path: The .onnx file.
        batch: Fixes a free batch axis at this length; None leaves it free.

    Raises:
        HostError: onnx2tf is not installed; the hint is the command that makes its environment.
        UnsupportedOperatorError: It can't convert the model.
        ModelTimeoutError: It did not end within half an hour.
    """
    program = find_onnx2tf()
    if program is None:
        raise HostError(
            "ONNX to TFLite needs onnx2tf, which is not installed",
            hint=f"python3 -m venv {_ENVIRONMENT} && {_ENVIRONMENT}/bin/pip install onnx2tf",
        )
    with tempfile.TemporaryDirectory(prefix="tinsmith-") as folder:
        simple = Path(folder) / "model.onnx"
        inputs = _fold_constants(path, simple)
        options = ["-n", "-coion", *(["-b", str(batch)] if batch else []), "-kat", *inputs]
        said = _run([str(program), "-i", str(simple), "-o", str(Path(folder) / "out"), *options], folder)
        made = Path(folder) / "out" / "model_float32.tflite"
        if not made.exists():
            raise UnsupportedOperatorError(
                f"onnx2tf can't convert {path}: {_reason(said)}",
                hint="convert the model that the .onnx file was made from instead",
            )
        return made.read_bytes()


def _fold_constants(path: Path, simple: Path) -> list[str]:
    """Write the model with its constants folded, without which onnx2tf stumbles over reshaped weights.

    Returns:
        The names of the inputs.
    """
    ort = require("onnxruntime", needed_for="an .onnx file")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(simple)
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.name for node in session.get_inputs()]


def _run(command: list[str], folder: str) -> str:
    try:
        ended = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise ModelTimeoutError(f"onnx2tf did not end within {_TIME_LIMIT_S} s, and was stopped") from None
    return ended.stdout + ended.stderr


def _reason(said: str) -> str:
    """The operator that onnx2tf stumbled over, or the last thing that it said."""
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in said.splitlines()]
    named = [line.partition(":")[2].strip() for line in plain if "onnx_op_name" in line]
    errors = [line for line in plain if re.match(r"\w*Error: ", line)]
    return "; ".join([*(f"operator {name}" for name in named[:1]), *errors[-1:]])[:300] or "it said nothing"
