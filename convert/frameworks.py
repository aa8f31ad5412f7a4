"""The heavy frameworks, imported when they are first needed, with one error when they are missing."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

from tinsmith.runtime.engines.ort import forbid_telemetry
from tinsmith.runtime.errors import MissingDependencyError

__all__ = ["require"]

# Read by TensorFlow when it is imported. oneDNN reorders sums from one machine to the next; without it the same
# model gives the same numbers everywhere.
_TENSORFLOW_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}

# Read by the trackers when they are imported: both report what is done with them to their makers otherwise.
_SILENCE = {
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"},
    "wandb": {"WANDB_ERROR_REPORTING": "false"},
}

# module: (distribution, extra that installs it)
_HOME = {
    "tensorflow": ("tensorflow", "tensorflow"),
    "keras": ("keras", "tensorflow"),
    "tf_keras": ("tf-keras", "tensorflow"),
    "tensorflow_model_optimization": ("tensorflow-model-optimization", "tensorflow"),
    "tensorflow_datasets": ("tensorflow-datasets", "tfds"),
    "tf2onnx": ("tf2onnx", "onnx"),
    "ai_edge_quantizer": ("ai-edge-quantizer", "tensorflow"),
    "ai_edge_litert": ("ai-edge-litert", "all"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "onnx_ir": ("onnx-ir", "onnx"),
    "PIL": ("Pillow", "images"),
    "h5py": ("h5py", "tensorflow"),
    "sklearn": ("scikit-learn", "demo"),
    "distributed": ("dask[distributed]", "search"),
    "mlflow": ("mlflow-skinny", "tracking"),
    "sqlalchemy": ("SQLAlchemy", "tracking"),
    "alembic": ("alembic", "tracking"),
    "wandb": ("wandb", "tracking"),
}


def require(module: str, *, needed_for: str) -> Any:
    """Import a framework's module.

    Args:
        module: Dotted, such as ``onnxruntime.quantization``.
        needed_for: What the user asked for, for the message.

    Raises:
        MissingDependencyError: Its package is not installed.
    """
    top = module.split(".", maxsplit=1)[0]
    if top in ("tensorflow", "tensorflow_datasets", "keras", "tf_keras", "tf2onnx"):
        for name, value in _TENSORFLOW_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    if top == "onnxruntime":
        forbid_telemetry()
    os.environ.update(_SILENCE.get(top, {}))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package, extra = _HOME[top]
        raise MissingDependencyError(package, extra=extra, needed_for=needed_for) from error
