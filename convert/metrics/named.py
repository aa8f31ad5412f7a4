"""From a metric's name to the metric."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tinsmith.convert.metrics.counting import accuracy, top
from tinsmith.convert.metrics.custom import custom
from tinsmith.convert.metrics.ranking import auc, mean_average_precision
from tinsmith.convert.metrics.values import mae, mse
from tinsmith.convert.references import is_reference
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from tinsmith.convert.metrics.metric import Metric

__all__ = ["METRIC_NAMES", "metric_named"]

METRIC_NAMES = ("accuracy", "top-K", "auc", "map", "mae", "mse", "module:function")

_NAMED = {"accuracy": accuracy, "auc": auc, "map": mean_average_precision, "mae": mae, "mse": mse}
_TOP = re.compile(r"top-([1-9]\d*)")


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
