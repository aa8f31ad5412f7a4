"""Whatever answers batches of real numbers, and the one way in which samples go through it, here and on a device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tinsmith.runtime.errors import DataError, ModelError
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = ["Predictor", "SandboxedArtifact", "rename_feeds", "run_samples"]

_CHUNK = 32


class Predictor(Protocol):
    """Runs batches of real numbers.

    Attributes:
        inputs: What goes in; names are unique.
        outputs: What comes out, in a fixed order.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What goes in."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What comes out."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch: an array an input name in, an array an output name out."""
        ...


class SandboxedArtifact:
    """An artifact that never touches this process: every run happens in a child.

    Args:
        path: A .tflite or .onnx file.
        sandbox: A child to use; it is closed with this object. A child that was started early has its imports done.
        engine: Its name; None takes the default of the format.
        accelerator: ``cpu``, or names in the order to try them.
        threads: CPU threads; None for one a core.

    Raises:
        ModelLoadError: The file can't be read, or the engine refused it or died on it.
        ModelTimeoutError: It did not load and answer in time.
        MissingDependencyError: The engine is not installed.
        AcceleratorError: No accelerator of the list took the model.
    """

    def __init__(
        self,
        path: Path,
        sandbox: Sandbox | None = None,
        *,
        engine: str | None = None,
        accelerator: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.path = path
        self._sandbox = sandbox or Sandbox()
        try:
            opened = self._sandbox.open(
                path, engine=engine, accelerator=accelerator, threads=threads or os.cpu_count() or 1
            )
        except BaseException:
            self._sandbox.close()
            raise
        self.inputs = opened.inputs
        self.outputs = opened.outputs

    @property
    def sandbox(self) -> Sandbox:
        """The child, for what only it can tell."""
        return self._sandbox

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch; raises as ``Sandbox.run``."""
        return self._sandbox.run(feeds)

    def __enter__(self) -> SandboxedArtifact:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sandbox.close()


def run_samples(predictor: Predictor, feeds: Mapping[str, Array]) -> list[Array]:
    """Run samples through a predictor in batches that its batch axis allows.

    Args:
        predictor: Whatever answers.
        feeds: One array an input name, all with the same number of samples on axis 0. Names that the predictor does
            not know are matched by their order.

    Returns:
        One array an output, in the predictor's order, with the samples on axis 0.

    Raises:
        DataError: The number of inputs differs.
        ModelError: An output's first axis is not the batch.
    """
    named = rename_feeds(predictor, feeds)
    parts = [_run_chunk(predictor, chunk, size) for chunk, size in _chunks(named, _fixed_batch(predictor))]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def rename_feeds(predictor: Predictor, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Give feeds the predictor's input names, by name where they agree, else by order."""
    names = [spec.name for spec in predictor.inputs]
    if set(names) == feeds.keys():
        return dict(feeds)
    if len(names) != len(feeds):
        raise DataError(f"the model has {len(names)} inputs ({', '.join(names)}), but {len(feeds)} are fed")
    return dict(zip(names, feeds.values(), strict=True))


def _fixed_batch(predictor: Predictor) -> int | None:
    batches = {spec.batch for spec in predictor.inputs if spec.shape}
    fixed = batches - {None}
    return fixed.pop() if fixed else None


def _chunks(feeds: Mapping[str, Array], batch: int | None) -> Iterator[tuple[dict[str, Array], int]]:
    """Cut feeds into batches; the last one of a fixed batch is filled up with its own first sample."""
    total = len(next(iter(feeds.values())))
    step = batch or _CHUNK
    for start in range(0, total, step):
        chunk = {name: array[start : start + step] for name, array in feeds.items()}
        size = min(step, total - start)
        if batch and size < batch:
            chunk = {name: np.concatenate([a, np.repeat(a[:1], batch - size, axis=0)]) for name, a in chunk.items()}
        yield chunk, size


def _run_chunk(predictor: Predictor, chunk: Mapping[str, Array], size: int) -> list[Array]:
    expected = len(next(iter(chunk.values())))
    answers = predictor.run(chunk)
    outputs = [answers[spec.name] for spec in predictor.outputs]
    for spec, array in zip(predictor.outputs, outputs, strict=True):
        if array.ndim == 0 or len(array) != expected:
            raise ModelError(
                f"output {spec.name!r} has shape {list(array.shape)} for a batch of {expected}: "
                "its first axis is not the batch",
                hint="tinsmith needs outputs with the batch on the first axis",
            )
    return [array[:size] for array in outputs]
