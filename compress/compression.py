"""Carry out a recipe: model in, proven artifact out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.compress.planner import plan, target_of
from tinsmith.convert.delivery import Delivery, Job, Workbench, deliver
from tinsmith.convert.parity import FLOAT32, Tolerance
from tinsmith.runtime.files import bytes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.compress.planner import PlannedPass
    from tinsmith.compress.recipe import Recipe
    from tinsmith.convert.model import Model

__all__ = ["Compression", "compress"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """What a recipe made.

    Attributes:
        source: The model that went in.
        source_bytes: Its size on disk.
        passes: What ran, in order.
        measured: What each pass found out, in the same order.
        delivery: The artifact and its proof.
    """

    source: Model
    source_bytes: int
    passes: tuple[PlannedPass, ...]
    measured: tuple[dict[str, float | str], ...]
    delivery: Delivery

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "source": str(self.source.path),
            "source_format": self.source.format,
            "source_bytes": self.source_bytes,
            "passes": [
                {**planned.document(), "measured": measured}
                for planned, measured in zip(self.passes, self.measured, strict=True)
            ],
            **self.delivery.to_json(),
        }


def compress(model: Path, recipe: Recipe, output: Path, **settings: Any) -> Compression:
    """Make a model smaller by a recipe, and prove what came out against what went in.

    Args:
        model: A model of any of the five formats; it is never changed.
        recipe: From ``load_recipe``.
        output: The artifact; ends in .tflite or .onnx. Its manifest is written beside it.
        **settings: ``data``, ``seed``, ``allow`` and ``time_limit_s`` of ``Job``.

    Raises:
        TinsmithError: As the exit codes say; nothing is written then.
    """
    job = Job.of(model, output, **settings)
    planned = plan(job.source, recipe, target_of(recipe, output))
    measured: list[dict[str, float | str]] = []

    def carry_out(bench: Workbench) -> Path:
        at = job.source
        for step in planned:
            logger.debug("%s: %s to %s", step.work.kind, step.takes, step.gives)
            result = step.work.apply(at, bench)
            at = result.model
            measured.append(dict(result.measured))
        return at.path

    delivery = deliver(job, carry_out, tolerance=_tolerance(planned), steps=[p.step.document() for p in planned])
    return Compression(
        source=job.source,
        source_bytes=bytes_of(job.source.path),
        passes=planned,
        measured=tuple(measured),
        delivery=delivery,
    )


def _tolerance(planned: Sequence[PlannedPass]) -> Tolerance:
    """The loosest of all passes: each may move the answers a little further."""
    tolerances = [FLOAT32, *(step.work.tolerance for step in planned)]
    unbound = [t for t in tolerances if t.relative is None]
    return unbound[-1] if unbound else max(tolerances, key=lambda t: t.relative or 0.0)
