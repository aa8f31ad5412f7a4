"""Anything that answers: a trained model in its framework, or an artifact in its engine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.runtime.predicting import Predictor, SandboxedArtifact, rename_feeds, run_samples
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinsmith.convert.model import Model

    Array = NDArray[np.generic]

__all__ = ["Predictor", "SandboxedArtifact", "class_scores", "opened_predictor", "rename_feeds", "run_samples"]


@contextlib.contextmanager
def opened_predictor(model: Model, *, allow_unsafe: bool = False, time_limit_s: float = 60.0) -> Iterator[Predictor]:
    """Make any model of the five formats answer, for as long as the context lasts.

    Args:
        model: From ``identify``.
        allow_unsafe: Load Keras models whose ``Lambda`` layers run code of their author.
        time_limit_s: For an artifact's load, and for each run.

    Raises:
        ModelError: It can't be loaded.
        MissingDependencyError: Its framework or engine is not installed.
    """
    if model.is_artifact:
        with SandboxedArtifact(model.path, Sandbox(time_limit_s=time_limit_s)) as artifact:
            yield artifact
        return
    from tinsmith.convert.loading import load_trained

    yield load_trained(model, allow_unsafe=allow_unsafe)


def class_scores(outputs: list[Array]) -> NDArray[np.float64] | None:
    """The scores of a classifier, float64 of shape [samples, classes].

    A single output in [0, 1] a sample counts as the score of the second of two classes.

    Returns:
        None for a model with several outputs, or with one that is not [samples, scores].
    """
    if len(outputs) != 1 or outputs[0].ndim < 2 or any(n != 1 for n in outputs[0].shape[1:-1]):
        return None
    scores = outputs[0].reshape(len(outputs[0]), -1).astype(np.float64)
    if scores.shape[1] > 1:
        return scores
    probable = bool(np.all((scores >= 0) & (scores <= 1)))
    return np.concatenate([1 - scores, scores], axis=1) if probable else None
