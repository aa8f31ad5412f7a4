"""What a recipe moved: said before it ran, measured afterwards.

What came out is held against the source as a plain artifact of the same format, so that a change of format is not taken
for an achievement.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.passes.base import QUANTITIES
from tinsmith.convert.evaluation import evaluate
from tinsmith.convert.inspection import operator_precisions, sizes_of
from tinsmith.convert.metrics import metric_for
from tinsmith.convert.predictors import SandboxedArtifact
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.pairs import time_pair
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from tinsmith.compress.passes.base import Needs, Quantity
    from tinsmith.convert.data import Dataset, Roles
    from tinsmith.convert.delivery import Proven
    from tinsmith.convert.evaluation import Evaluation
    from tinsmith.convert.inspection import Sizes
    from tinsmith.runtime.pairs import PairTiming

__all__ = [
    "Balance",
    "Judged",
    "Pace",
    "Scales",
    "at_most",
    "computes_in_integers",
    "judge",
    "judged_on",
    "look_at_speed",
]

# What an artifact computes in integers, activations included.
_INTEGER_PRECISIONS = ("int8", "int4", "int16x8", "dynamic-int8", "dynamic-int4")
# A report is no evaluation: the standard error is a point at most.
_MOST_SAMPLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How good the answers were and are, on samples that no pass has learned from.

    Attributes:
        before: Of the source.
        after: Of what came out.
    """

    before: Evaluation
    after: Evaluation

    @property
    def agreement(self) -> float | None:
        """Share of samples on which both name the same class; None for what names none."""
        named = self.before.names_classes and self.after.names_classes
        return self.after.agreement(self.before) if named else None

    def to_json(self) -> dict[str, Any]:
        """For reports; the classes and slices that lost most come first."""
        classes = [{**found.to_json(), "change": change} for found, change in self.after.lost_by_class(self.before)]
        slices = [{**found.to_json(), "change": change} for found, change in self.after.lost_by_slice(self.before)]
        judgements = {"before": self.before.to_json(), "after": self.after.to_json()}
        return {**judgements, "classes": classes, "slices": slices}


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Every quantity before and after.

    Attributes:
        announced: What the recipe said it would move.
        before: Sizes of the source as a plain artifact.
        after: Sizes of what came out.
        speed: Both timed in turn; None where the source is too large to be run, or the artifact is for another machine.
        judged: Both judged; None where there are no samples with answers, or the source gave other answers by design.
        unjudged: Why not; empty where they were.
        untimed: Why they were not timed; empty where they were.
        integers: Whether the artifact computes in integers, and its source in floats.
    """

    announced: tuple[Quantity, ...]
    before: Sizes
    after: Sizes
    speed: PairTiming | None
    judged: Judged | None
    unjudged: str = ""
    untimed: str = ""
    integers: bool = False

    @property
    def pace(self) -> Pace | None:
        """Whether integers are worth their while; None where there are none."""
        return Pace(speed=self.speed, untimed=self.untimed) if self.integers else None

    @property
    def bytes_moved(self) -> dict[str, tuple[int | None, int | None]]:
        """Before and after, by quantity; memory is estimated."""
        return {
            "file": (self.before.flash_bytes, self.after.flash_bytes),  # with weights beside it
            "zip": (self.before.zip_bytes, self.after.zip_bytes),
            "flash": (self.before.flash_bytes, self.after.flash_bytes),
            "ram": (self.before.activation_bytes, self.after.activation_bytes),
        }

    @property
    def estimated(self) -> tuple[Quantity, ...]:
        """Which of them nobody has measured in full."""
        return ("zip", "ram") if self.before.zip_estimated or self.after.zip_estimated else ("ram",)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        moved: dict[str, Any] = {
            name: {"announced": name in self.announced, "before_bytes": before, "after_bytes": after}
            for name, (before, after) in self.bytes_moved.items()
        }
        moved |= {name: {**moved[name], "estimated": name in self.estimated} for name in moved}
        moved["latency"] = {"announced": "latency" in self.announced, "not_timed": self.untimed, **_timed(self.speed)}
        if self.pace is not None:
            moved["latency"] |= self.pace.to_json()
        moved["accuracy"] = {"announced": "accuracy" in self.announced, "not_judged": self.unjudged}
        if self.judged is not None:
            moved["accuracy"] |= self.judged.to_json()
        return {name: moved[name] for name in QUANTITIES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Whether an integer artifact is to be recommended for its speed.

    Attributes:
        speed: The float source and the artifact, timed in turn; None where nobody has timed them.
        untimed: Why not.
    """

    speed: PairTiming | None
    untimed: str = ""

    @property
    def recommended(self) -> bool | None:
        """Never, where it measures slower than float; None where it was not measured."""
        return None if self.speed is None else self.speed.ratio <= 1

    @property
    def said(self) -> str:
        """In one line."""
        if self.speed is None:
            return f"not known: nothing was timed here, because {self.untimed}"
        if self.recommended:
            return f"recommended here: {1 / self.speed.ratio:.2f} times as fast as float"
        surely = "" if self.speed.low > 1 else f", though one of {self.speed.rounds} rounds was as fast"
        slower = f"{self.speed.ratio:.2f}x slower than float here{surely}"
        return f"not recommended on this machine: {slower}; keep float, or take it for its size alone"

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {"recommended": self.recommended, "verdict": self.said}


class Scales:
    """Measures the sizes of artifacts aside: deflating a large file takes as long as quantizing it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._found: dict[Path, Future[Sizes]] = {}

    def put(self, artifact: Path) -> None:
        """Begin with a file that is whole."""
        if artifact not in self._found:
            self._found[artifact] = self._pool.submit(sizes_of, artifact)

    def sizes(self, artifact: Path) -> Sizes:
        """What was found; raises as ``sizes_of``."""
        self.put(artifact)
        return self._found[artifact].result()

    def close(self) -> None:
        """Forget what nobody has asked for."""
        self._pool.shutdown(cancel_futures=True)


def judged_on(roles: Roles | None, needs: Needs) -> Dataset | None:
    """Samples that no pass has learned from, at most 2,000.

    Those for validation, or else those for testing: the artifact is made by now, and nothing is chosen by them. Where
    nothing learns and the user has not split them, all serve, those that ranges were found on as well; their name says.

    Args:
        roles: Of the user's samples; None where there are none.
        needs: Of the recipe.
    """
    if roles is None:
        return None
    if needs.training or roles.split_by_user:
        found = roles.validation or roles.test
    else:
        found = roles.report
        if needs.data:
            found = found.called(f"{found.name} (calibrated on as well)")
    return None if found is None else at_most(found, roles.seed)


def at_most(samples: Dataset, seed: int) -> Dataset:
    """The samples, or 2,000 of them where there are more; class by class where they have labels."""
    if len(samples) <= _MOST_SAMPLES:
        return samples
    if samples.labels is not None:
        return samples.stratified_split(_MOST_SAMPLES, seed=seed)[0]
    picked = np.zeros(len(samples), dtype=bool)
    picked[np.random.default_rng(seed).permutation(len(samples))[:_MOST_SAMPLES]] = True
    return samples.where(picked, f"{_MOST_SAMPLES} samples of {samples.name}") or samples


def judge(proven: Proven, samples: Dataset | None, metric: str | None) -> tuple[Judged | None, str]:
    """Judge source and artifact on the same samples.

    Args:
        proven: Both, open.
        samples: To judge on; None where there are none.
        metric: The user's choice; None for the usual one, which is left out where it does not fit the samples.

    Returns:
        Both judgements, or None and the reason.

    Raises:
        DataError: The metric that the user chose does not fit.
    """
    if samples is None or not samples.has_answers:
        return None, "no samples with labels were given"
    chosen = metric_for(metric, samples)
    try:
        after = evaluate(proven.artifact, samples, chosen)
    except DataError as error:
        if metric is not None:
            raise
        return None, error.message
    try:
        return Judged(before=evaluate(proven.source, samples, chosen), after=after), ""
    except DataError as error:  # such as a source that knows other classes
        return None, f"the source can't be judged: {error.message}"


def computes_in_integers(artifact: Path) -> bool:
    """Whether anything in an artifact is computed in integers; raises as ``operator_precisions``."""
    return any(use.precision in _INTEGER_PRECISIONS for use in operator_precisions(artifact))


def look_at_speed(baseline: Path, proven: Proven, *, time_limit_s: float) -> PairTiming:
    """Time the artifact and what it is held against in turn; raises as ``time_pair``."""
    source = proven.source
    if isinstance(source, SandboxedArtifact) and source.path == baseline:
        return time_pair(source.sandbox, proven.artifact.sandbox)
    with SandboxedArtifact(baseline, Sandbox(time_limit_s=time_limit_s)) as plain:
        return time_pair(plain.sandbox, proven.artifact.sandbox)


def _timed(speed: PairTiming | None) -> dict[str, Any]:
    return {"not_measured": "the artifact is for another machine"} if speed is None else asdict(speed)
