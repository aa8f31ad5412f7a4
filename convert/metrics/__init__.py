"""Metrics: how good a model's answers are, as one number; every budget and report uses the one that the user chose."""

from tinsmith.convert.metrics.metric import Metric, Tally
from tinsmith.convert.metrics.named import METRIC_NAMES, metric_for, metric_named

__all__ = ["METRIC_NAMES", "Metric", "Tally", "metric_for", "metric_named"]
