"""Inspection: what a model file holds, costs and needs, read without running any of it."""

from tinsmith.convert.inspection.report import (
    ArtifactInspection,
    TrainedInspection,
    ends_of,
    inspect_model,
    operator_precisions,
    sizes_of,
)
from tinsmith.convert.inspection.sizes import Sizes

__all__ = [
    "ArtifactInspection",
    "Sizes",
    "TrainedInspection",
    "ends_of",
    "inspect_model",
    "operator_precisions",
    "sizes_of",
]
