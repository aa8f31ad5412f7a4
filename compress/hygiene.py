"""What a compression report says of the samples that it calibrated on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.compress.passes.quantization import QuantizeStep
from tinsmith.convert.data.hygiene import look_at_calibration
from tinsmith.convert.data.overview import class_count
from tinsmith.convert.data.ranges import expected_range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinsmith.compress.passes.base import Step
    from tinsmith.convert.data import Roles
    from tinsmith.convert.data.hygiene import Hygiene
    from tinsmith.convert.model import Model
    from tinsmith.convert.predictors import Predictor

__all__ = ["hygiene_of"]

# A report must not take longer than the calibration; `tinsmith data check` looks at all.
_MOST_SAMPLES = 5_000


def hygiene_of(steps: Iterable[Step], roles: Roles | None, source: Predictor, model: Model) -> Hygiene | None:
    """Look at the samples that a recipe calibrates on, against those for testing or validation.

    Args:
        steps: Of the recipe.
        roles: Of the user's samples.
        source: The model that went in, open.
        model: Its file.

    Returns:
        None where nothing was calibrated.
    """
    if roles is None or not any(isinstance(step, QuantizeStep) and step.typed_scheme().static for step in steps):
        return None
    return look_at_calibration(
        roles.calibration,
        roles.test or (roles.validation if roles.split_by_user else None),
        source.inputs,
        class_count(source.outputs),
        expected=expected_range(source.inputs, model),
        at_most=_MOST_SAMPLES,
    )
