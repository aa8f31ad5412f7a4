"""The engines that run artifacts, behind one protocol.

An engine is chosen by the artifact's format, or by name. Its module is imported only when it is opened, because each
engine is a package of its own that a device may not have.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tinsmith.runtime.errors import AcceleratorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.placement import Placement
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["ENGINES", "Engine", "EngineChoice", "Interruptible", "choose_engine", "open_engine"]


class Engine(Protocol):
    """One artifact, loaded and ready to run; not thread-safe.

    Attributes:
        name: Such as ``litert``.
        version: Of the engine's package.
        accelerator: What it runs on, as asked for; ``cpu`` unless told otherwise.
        inputs: What goes in, in the order ``run`` takes it.
        outputs: What comes out, in the order ``run`` gives it.
        refusals: Why accelerators that were tried before did not take the model.
    """

    name: str
    version: str
    accelerator: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    refusals: tuple[str, ...]

    def run(self, feeds: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Run once on stored dtypes.

        Args:
            feeds: One array an input, of exactly its dtype and a shape that its spec allows.

        Returns:
            One array an output; copies that later runs do not touch.

        Raises:
            ModelError: The engine failed while it ran.
        """
        ...

    def placement(self) -> Placement:
        """Where the operators run; those that the engine has fused or left out are no longer among them."""
        ...

    def close(self) -> None:
        """Free what the engine holds; the engine can't be used afterwards."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """An engine whose run can be ended from another thread; TFLite's Python interface has no way to."""

    def interrupt(self) -> None:
        """End the run that is under way, which then raises ``ModelError``; the engine is of no use afterwards."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """An engine that can be asked for by name.

    Attributes:
        name: As ``--engine`` takes it.
        formats: The artifact formats it runs; it is the default for those in ``default_for``.
        default_for: The formats that it runs when no engine is named.
        package: The distribution that brings it.
        extra: The extra of tinsmith that installs it; empty when the plain install does.
        module: Where its ``open`` function lives.
    """

    name: str
    formats: tuple[str, ...]
    default_for: tuple[str, ...]
    package: str
    extra: str
    module: str


ENGINES = (
    EngineChoice(
        name="litert",
        formats=("tflite",),
        default_for=("tflite",),
        package="ai-edge-litert",
        extra="",
        module="tinsmith.runtime.engines.litert",
    ),
    EngineChoice(
        name="onnxruntime",
        formats=("onnx",),
        default_for=("onnx",),
        package="onnxruntime",
        extra="onnx",
        module="tinsmith.runtime.engines.ort",
    ),
    EngineChoice(
        name="tflite-runtime",
        formats=("tflite",),
        default_for=(),
        package="tflite-runtime",
        extra="tflite-runtime",
        module="tinsmith.runtime.engines.tflite_runtime",
    ),
)


def choose_engine(artifact_format: str, name: str | None = None) -> EngineChoice:
    """Find the engine for an artifact format, or the named one if it runs that format.

    Raises:
        UsageError: No engine has that name, or it does not run that format.
    """
    if name is None:
        for choice in ENGINES:
            if artifact_format in choice.default_for:
                return choice
        raise UsageError(
            f"no engine runs {artifact_format} files", hint="convert it first: tinsmith convert MODEL -o model.tflite"
        )
    by_name = {choice.name: choice for choice in ENGINES}
    if name not in by_name:
        raise UsageError(f"there is no engine {name!r}", hint=f"choose one of {', '.join(by_name)}")
    if artifact_format not in by_name[name].formats:
        able = ", ".join(choice.name for choice in ENGINES if artifact_format in choice.formats)
        raise UsageError(
            f"the engine {name} does not run {artifact_format} files",
            hint=f"leave out --engine, or choose one of {able}",
        )
    return by_name[name]


def open_engine(path: Path, choice: EngineChoice, *, accelerator: str = "cpu", threads: int = 1) -> Engine:
    """Load an artifact into this process; only for files that a child process has accepted before.

    Args:
        path: The artifact.
        choice: Which engine, from ``choose_engine``.
        accelerator: ``cpu``, or one that the engine knows; a comma-separated list is tried in order.
        threads: At least 1; set in the engine's constructor, because later is too late for XNNPACK.

    Raises:
        MissingDependencyError: The engine's package is not installed.
        AcceleratorError: No accelerator of the list took the model.
        ModelLoadError: The engine refused the file.
    """
    module = importlib.import_module(choice.module)
    refusals = []
    for candidate in accelerator.split(","):
        try:
            engine: Engine = module.open_engine(path, accelerator=candidate.strip(), threads=threads)
        except AcceleratorError as error:  # noqa: PERF203 - a handful of candidates
            refusals.append(error.message)
        else:
            engine.refusals = tuple(refusals)
            return engine
    raise AcceleratorError("; ".join(refusals), hint=f"allow a fallback by naming it: --accelerator {accelerator},cpu")
