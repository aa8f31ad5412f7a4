"""Inspection: what a model file holds, costs and needs, read without running any of it."""

from tinsmith.convert.inspection.report import (
    ArtifactInspection,
    TrainedInspection,
    inspect_model,
    operator_precisions,
)

__all__ = ["ArtifactInspection", "TrainedInspection", "inspect_model", "operator_precisions"]
