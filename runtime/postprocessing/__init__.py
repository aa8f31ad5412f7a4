"""Postprocessing as data: what turns a model's outputs into an answer, on numpy alone."""

from tinsmith.runtime.postprocessing.pipeline import Postprocessing

__all__ = ["Postprocessing"]
