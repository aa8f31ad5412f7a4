"""What the debugger needs of a format: its wiring, its tensors while it runs, and its operators one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.convert.layers.wiring import Wiring
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]
    Runner = Callable[[Mapping[str, Array]], Mapping[str, Array]]

__all__ = ["Probe", "cannot_run", "open_probe"]


class Probe(Protocol):
    """One artifact, taken apart.

    Attributes:
        wiring: What computes what.
        inputs: What goes in, under the names that its users know, in the order of ``wiring.inputs``.
    """

    wiring: Wiring
    inputs: tuple[TensorSpec, ...]

    def observing(self, names: Sequence[str]) -> Runner:
        """The model as it is, with tensors brought to light.

        Returns:
            A function that takes an array a tensor of ``wiring.inputs``, in stored dtypes, and gives one a name, as
            stored; it raises ``ModelError``.

        Raises:
            ModelError: The engine can't run it.
        """
        ...

    def apart(self, names: Sequence[str]) -> Runner:
        """The model cut at tensors: whatever takes one of them is fed a given value instead of the computed one.

        Returns:
            A function that takes an array a tensor of ``wiring.inputs`` and an array a name, and gives what is computed
            for each name; it raises ``ModelError``.

        Raises:
            ModelError: The engine can't run it.
        """
        ...

    def weights(self, name: str) -> tuple[NDArray[np.float32], int] | None:
        """What is stored in a node's weights.

        Returns:
            The largest magnitude of each output channel, and how many scales they are stored with (0 for floats); None
            where that can't be told.
        """
        ...


def open_probe(path: Path) -> Probe:
    """Take an artifact apart that a child process has accepted before.

    Raises:
        ModelError: It can't be read.
        MissingDependencyError: The package that reads it is not installed.
    """
    from tinsmith.runtime.session import artifact_format

    if artifact_format(path) == "tflite":
        from tinsmith.convert.layers.tflite_probe import TfliteProbe

        return TfliteProbe(path)
    from tinsmith.convert.layers.onnx_probe import OnnxProbe

    return OnnxProbe(path)


def cannot_run(path: Path, said: str) -> ModelError:
    """What to say where an engine runs a model, but not with its tensors brought to light."""
    return ModelError(
        f"{path.name} can't be looked into layer by layer: {said}",
        hint="compare without --layers holds the answers against each other",
    )
