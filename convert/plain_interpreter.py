"""LiteRT with every tensor in sight, for whoever looks into a model and not only at its answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tinsmith.convert.frameworks import require

__all__ = ["plain_interpreter"]


def plain_interpreter(model: Path | bytes, *, needed_for: str) -> Any:
    """Load a .tflite model that a child process has accepted before, so that every tensor can be read after a run.

    Without XNNPACK: it fuses operators, and the tensors between them are then not computed.

    Args:
        model: A file, or its content.
        needed_for: What the user asked for, for the message where LiteRT is missing.

    Returns:
        An ``Interpreter`` whose tensors are allocated.

    Raises:
        RuntimeError: LiteRT refused it.
        ValueError: As above.
        MissingDependencyError: LiteRT is not installed.
    """
    litert = require("ai_edge_litert.interpreter", needed_for=needed_for)
    interpreter = litert.Interpreter(
        **({"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}),
        num_threads=os.cpu_count() or 1,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter
