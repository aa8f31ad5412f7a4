"""What lives on the device, and the nouns that every other package shares.

Standard library, numpy and one engine; importing this package loads neither numpy nor an engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinsmith.runtime.artifact import Artifact
    from tinsmith.runtime.measurement import Measurement
    from tinsmith.runtime.postprocessing import Postprocessing
    from tinsmith.runtime.preprocessing import Preprocessing
    from tinsmith.runtime.profile import Profile, load_profile
    from tinsmith.runtime.sandbox import Sandbox
    from tinsmith.runtime.session import Session, open_session
    from tinsmith.runtime.tensors import Quantization, TensorSpec

__all__ = [
    "Artifact",
    "Measurement",
    "Postprocessing",
    "Preprocessing",
    "Profile",
    "Quantization",
    "Sandbox",
    "Session",
    "TensorSpec",
    "load_profile",
    "open_session",
]

_HOME = {
    "Artifact": "artifact",
    "Measurement": "measurement",
    "Postprocessing": "postprocessing",
    "Preprocessing": "preprocessing",
    "Profile": "profile",
    "Quantization": "tensors",
    "Sandbox": "sandbox",
    "Session": "session",
    "TensorSpec": "tensors",
    "load_profile": "profile",
    "open_session": "session",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that the import itself stays light."""
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"tinsmith.runtime.{_HOME[name]}"), name)
