"""tflite-runtime, for 32-bit Arm boards that have no LiteRT wheel.

Its last release is 2.14 of 2023: it needs numpy < 2, runs int8 on x86 many times slower than LiteRT, and refuses files
with newer operator versions. It is never chosen unless it is named.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from tinsmith.runtime.engines.tflite import TfliteEngine, open_interpreter
from tinsmith.runtime.errors import HostError, MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_engine"]


def open_engine(path: Path, *, accelerator: str, threads: int) -> TfliteEngine:
    """Load a .tflite file with tflite-runtime; raises as ``open_interpreter``.

    Raises:
        HostError: numpy is 2 or newer; the import succeeds then, and creating an interpreter fails obscurely.
    """
    import numpy as np

    try:
        from tflite_runtime import interpreter
    except ImportError as error:
        raise MissingDependencyError(
            "tflite-runtime", extra="tflite-runtime", needed_for="the engine tflite-runtime"
        ) from error
    if int(np.__version__.split(".", maxsplit=1)[0]) >= 2:
        raise HostError(
            f"tflite-runtime can't work with numpy {np.__version__}",
            hint='give it an environment of its own: pip install "tinsmith[tflite-runtime]"',
        )
    version = metadata.version("tflite-runtime")
    return open_interpreter(
        interpreter, path, name="tflite-runtime", version=version, accelerator=accelerator, threads=threads
    )
