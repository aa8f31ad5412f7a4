"""One counting process: how many instructions an artifact's runs execute."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.feeds import random_feeds
from tinsmith.runtime.instructions import METHOD
from tinsmith.runtime.measuring.measure import check_artifact
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields
    from tinsmith.runtime.measuring.requests import Count
    from tinsmith.runtime.stages import Stages

__all__ = ["Counted", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one process has counted.

    Attributes:
        engine: Its name.
        engine_version: Of its package.
        method: By what.
        counts: Instructions of one run each, in order.
    """

    engine: str
    engine_version: str
    method: str
    counts: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """The answer's fields."""
        return {**asdict(self), "counts": list(self.counts)}

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From the answer; raises ``DataError``."""
        counts = fields.wholes("counts", least=1)
        if not counts:
            raise fields.wrong("has no count")
        words = {name: fields.text(name) for name in ("engine", "engine_version", "method")}
        return cls(counts=counts, **words)


def count(base: Path, request: Count, stages: Stages) -> Counted:
    """Count the instructions of an artifact's runs in a process of its own.

    Args:
        base: What the request's path is seen from.
        request: What, and how often.
        stages: Says afterwards in which stage it failed.

    Raises:
        HostError: This machine counts no instructions.
        TinsmithError: As ``measure``.
    """
    opening = request.opening
    path = base / opening.path
    with Sandbox(time_limit_s=opening.time_limit_s) as sandbox:
        with stages.at("checking"):
            check_artifact(path, opening.sha256)
        with stages.at("loading"):
            opened = sandbox.open(
                path, engine=opening.engine or None, accelerator=opening.accelerator, threads=opening.threads
            )
        with stages.at("counting"):
            counts = sandbox.count_instructions(random_feeds(opened.inputs, seed=request.seed), runs=request.runs)
    return Counted(engine=opened.engine, engine_version=opened.version, method=METHOD, counts=counts)
