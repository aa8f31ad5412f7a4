"""Which versions of the tools an artifact was made with: other ones may make other bytes."""

from __future__ import annotations

import contextlib
from importlib import metadata

__all__ = ["tool_versions"]

# Whatever can change an artifact's bytes.
_TOOLS = (
    "tinsmith",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "keras",
    "numpy",
    "onnx",
    "onnxruntime",
    "pillow",
    "tensorflow",
    "tensorflow-model-optimization",
    "tf-keras",
    "tf2onnx",
)


def tool_versions() -> dict[str, str]:
    """Of those that are installed, by the name of the distribution."""
    versions = {}
    for name in _TOOLS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
