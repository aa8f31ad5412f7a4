"""LiteRT, the default engine for .tflite files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.engines.tflite import TfliteEngine, open_interpreter
from tinsmith.runtime.errors import MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_engine"]


def open_engine(path: Path, *, accelerator: str, threads: int) -> TfliteEngine:
    """Load a .tflite file with LiteRT; raises as ``open_interpreter``."""
    try:
        import ai_edge_litert
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise MissingDependencyError("ai-edge-litert", extra="all", needed_for="running a .tflite file") from error
    # not importlib.metadata, which brings email and zipfile into a server that has no other use for them
    version = str(ai_edge_litert.__version__)
    return open_interpreter(interpreter, path, name="litert", version=version, accelerator=accelerator, threads=threads)
