"""Inspection: what a model file holds, costs and needs, read without running any of it."""

from tinsmith.convert.inspection.report import (
    ArtifactInspection,
    Requirements,
    TrainedInspection,
    ends_of,
    inspect_model,
    operator_precisions,
    requirements_of,
    saturation_of,
    sizes_of,
)
from tinsmith.convert.inspection.saturation import Saturation
from tinsmith.convert.inspection.sizes import Sizes

__all__ = [
    "ArtifactInspection",
    "Requirements",
    "Saturation",
    "Sizes",
    "TrainedInspection",
    "ends_of",
    "inspect_model",
    "operator_precisions",
    "requirements_of",
    "saturation_of",
    "sizes_of",
]
