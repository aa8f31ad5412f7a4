"""What the protocol tells of the server and its models: metadata, health and configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.runtime._version import __version__
from tinsmith.runtime.server.oip.datatypes import datatype_of
from tinsmith.runtime.server.serving import instances_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.runtime.server.serving import Limits, ServedModel
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["model_configuration", "model_metadata", "server_metadata"]

_EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics", "tinsmith_predict")
# the protocol has a name for ONNX, and the pattern `<project>_<format>` for what it does not name
_PLATFORMS = {"onnx": "onnx_onnxv1", "tflite": "tensorflow_tflite"}
_CONFIGURED = {"BYTES": "STRING"}


def server_metadata() -> dict[str, Any]:
    """Of ``GET v2``."""
    return {"name": "tinsmith", "version": __version__, "extensions": list(_EXTENSIONS)}


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Of ``GET v2/models/M``; free axes are -1."""
    return {
        "name": model.servable.name,
        "versions": [model.servable.version],
        "platform": _PLATFORMS[model.servable.format],
        "inputs": _tensors(model.inputs),
        "outputs": _tensors(model.outputs),
    }


def model_configuration(model: ServedModel, limits: Limits) -> dict[str, Any]:
    """Of ``GET v2/models/M/config``: Triton's ModelConfig, as far as there is something to say.

    Where the first axes are one batch, Triton leaves that axis out of ``dims`` and says its length as
    ``max_batch_size``; here that is how many requests are put together, and a client may send longer batches.
    """
    servable = model.servable
    configuration: dict[str, Any] = {
        "name": servable.name,
        "platform": _PLATFORMS[servable.format],
        "backend": model.engine.partition(" ")[0],
        "version_policy": {"specific": {"versions": [servable.version]}},
        "max_batch_size": limits.max_batch if model.batches else 0,
        "input": _dimensions(model.inputs, batches=model.batches),
        "output": _dimensions(model.outputs, batches=model.batches),
        "instance_group": [{"name": f"{servable.name}_0", "kind": "KIND_CPU", "count": instances_of(servable, limits)}],
        "default_model_filename": servable.path.name,
        "parameters": {
            name: {"string_value": value}
            for name, value in (
                ("engine", model.engine),
                ("accelerator", servable.accelerator),
                ("threads", str(servable.threads)),
                ("sha256", servable.sha256),
            )
        },
    }
    if model.batches and limits.max_batch > 1:
        configuration["dynamic_batching"] = {"max_queue_delay_microseconds": round(limits.max_delay_ms * 1000)}
    return configuration


def _tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "datatype": datatype_of(spec.dtype),
            "shape": [-1 if length is None else length for length in spec.shape],
        }
        for spec in specs
    ]


def _dimensions(specs: Sequence[TensorSpec], *, batches: bool) -> list[dict[str, Any]]:
    return [
        {
            "name": tensor["name"],
            "data_type": f"TYPE_{_CONFIGURED.get(tensor['datatype'], tensor['datatype'])}",
            "dims": tensor["shape"][1:] if batches else tensor["shape"],
        }
        for tensor in _tensors(specs)
    ]
