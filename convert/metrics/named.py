"""From a metric's name to the metric."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.metrics.counting import accuracy, top
from tinsmith.convert.metrics.custom import custom
from tinsmith.convert.metrics.ranking import auc, mean_average_precision
from tinsmith.convert.metrics.values import mae, mse
from tinsmith.convert.references import is_reference
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.metrics.metric import Metric

__all__ = ["METRIC_NAMES", "metric_for", "metric_named"]

METRIC_NAMES = ("accuracy", "top-K", "auc", "map", "mae", "mse", "module:function")

_NAMED = {"accuracy": accuracy, "auc": auc, "map": mean_average_precision, "mae": mae, "mse": mse}
_TOP = re.compile(r"top-([1-9]\d*)")


def metric_for(name: str | None, samples: Dataset) -> Metric:
    """The metric that the user named, or the usual one for what the samples say is right.

    That is accuracy for class numbers, mean average precision for several truth values a sample, and the mean absolute
    error for any other numbers.

    Raises:
        UsageError: As ``metric_named``.
    """
    if name is not None:
        return metric_named(name)
    targets = samples.targets
    if targets is None or samples.labels is not None:
        return accuracy()
    truths = targets.shape[1] > 1 and bool(np.isin(targets, (0, 1)).all())
    return mean_average_precision() if truths else mae()


def metric_named(name: str) -> Metric:
    """Find a metric.

    Args:
        name: ``accuracy``, ``top-5`` or any other number, ``auc``, ``map``, ``mae``, ``mse``, or
            ``package.module:function``.

    Raises:
        UsageError: There is none of this name, or no such function.
    """
    if name in _NAMED:
        return _NAMED[name]()
    if found := _TOP.fullmatch(name):
        return top(int(found.group(1)))
    if is_reference(name):
        return custom(name)
    raise UsageError(f"there is no metric {name!r}", hint=f"choose one of {', '.join(METRIC_NAMES)}; such as top-5")
