"""Every pass that a recipe can name: the one place where a new one is entered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tinsmith.compress.passes.bn_recalibrate import BnRecalibrate
from tinsmith.compress.passes.channels import Channels
from tinsmith.compress.passes.clusters import Clusters
from tinsmith.compress.passes.conversion import Convert
from tinsmith.compress.passes.dead_channels import DeadChannels
from tinsmith.compress.passes.distill import Distill
from tinsmith.compress.passes.equalize import EqualizePass
from tinsmith.compress.passes.finetune import Finetune
from tinsmith.compress.passes.magnitude import Magnitude
from tinsmith.compress.passes.quantization import Quantize
from tinsmith.compress.passes.quantize_aware import QuantizeAware
from tinsmith.compress.passes.slim import Slim

if TYPE_CHECKING:
    from tinsmith.compress.passes.base import Pass, Step

__all__ = ["PASSES", "pass_of"]

# Each pass reads one class of step, and both say the same kind.
PASSES: tuple[type[Pass], ...] = (
    BnRecalibrate,
    Channels,
    Clusters,
    Convert,
    DeadChannels,
    Distill,
    EqualizePass,
    Finetune,
    Magnitude,
    Quantize,
    QuantizeAware,
    Slim,
)


def pass_of(step: Step, target: Literal["tflite", "onnx"]) -> Pass:
    """The pass that carries out a step.

    Args:
        step: Of a recipe.
        target: The artifact's format.

    Raises:
        RecipeError: The pass can't work towards this target.
    """
    for kind in PASSES:
        if type(step) is kind.reads:
            return kind(step, target=target)
    raise TypeError(f"no pass carries out {type(step).__name__}")
