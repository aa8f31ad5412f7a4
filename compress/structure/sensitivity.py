"""What it does to a model's answers when some channels go, measured without building the smaller model."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.structure.rules import channel_axes
from tinsmith.convert.predictors import run_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tinsmith.compress.structure.coupling import Coupling
    from tinsmith.convert.data import Batch
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Harm"]


class Harm:
    """Mean squared change of the answers when nobody reads some channels any more.

    Args:
        coupling: Of the model's channels.
        model: It is as it was after each call.
        batches: The same samples each time.
    """

    def __init__(self, coupling: Coupling, model: TrainedModel, batches: Callable[[], Iterable[Batch]]) -> None:
        self._coupling, self._model = coupling, model
        self._batches = [batch.feeds for batch in batches()]
        self._answers = self._run()

    def __call__(self, dropped: set[int]) -> float:
        """Of dropping these roots; at least 0."""
        with self._unread(dropped):
            answers = self._run()
        return float(np.mean([np.mean(np.square(a - b)) for a, b in zip(answers, self._answers, strict=True)]))

    def _run(self) -> list[Any]:
        return [np.asarray(run_samples(self._model, feeds)[0], dtype=np.float64) for feeds in self._batches]

    @contextlib.contextmanager
    def _unread(self, dropped: set[int]) -> Iterator[None]:
        """Set to zero what each layer reads of these channels: the same as without them."""
        before: list[tuple[Any, Any]] = []
        for channels in self._coupling.layers.values():
            kind = type(channels.layer).__name__
            for weight in channels.layer.weights:
                for axis, side in channel_axes(kind, weight.name, len(weight.shape)):
                    if side == "given" or "depthwise" in weight.name:
                        continue
                    atoms = channels.heads if side == "heads" else channels.taken
                    gone = np.isin(self._coupling.roots(atoms), sorted(dropped))
                    if gone.any():
                        before.append((weight, weight.numpy()))
                        self._silence(weight, axis, gone)
        try:
            yield
        finally:
            for weight, array in reversed(before):
                weight.assign(array)

    @staticmethod
    def _silence(weight: Any, axis: int, gone: Any) -> None:
        array = weight.numpy()
        np.moveaxis(array, axis, 0)[gone] = 0.0
        weight.assign(array)
