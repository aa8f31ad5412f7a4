"""A search whose recipes are carried out by arithmetic: what comes of one is a function of what it says."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tinsmith.compress.search.bounds import Ask
from tinsmith.compress.search.figures import Figures, Timed
from tinsmith.compress.search.front import objectives
from tinsmith.compress.search.proposing import Proposer
from tinsmith.compress.search.searching import Limits, Means, Search
from tinsmith.compress.search.space import Scope, Space
from tinsmith.compress.search.store import Store
from tinsmith.compress.search.trying import Outcome
from tinsmith.runtime.errors import DeviceError

_BITS = {"float32": 32, "float16": 16, "dynamic-int8": 8, "weights-int8": 8, "weights-int4": 5, "int8": 8, "int16x8": 8}
_LOSS = {"float32": 0, "float16": 0, "dynamic-int8": 4, "weights-int8": 2, "weights-int4": 30, "int8": 6, "int16x8": 1}


class Operators:
    """Ten operators of one model."""

    def narrowing(self, recipe, target):
        return [(f"op{number}", 100 * number) for number in range(1, 11)]

    def worst(self, recipe, target):
        return [f"op{number}" for number in range(1, 11)]


def figures_of(job):
    """What the arithmetic model becomes: smooth enough to learn from, best in 4 bits with half the MACs."""
    steps = {step.kind: step for step in job.carried_out.steps}
    quantize, channels = steps.get("quantize"), steps.get("channels")
    scheme = quantize.scheme if quantize else ("int8" if "quantize-aware" in steps else "float32")
    share = channels.macs if channels else 1.0
    loss = _LOSS[scheme] / 1000 + (1 - share) ** 2 / 20
    if "distill" in steps:
        loss += 0.1 / steps["distill"].epochs
    if quantize and quantize.rounding == "second-order":
        loss *= 0.7
    narrowed = sum(kept == "int8x4" for kept in quantize.keep.values()) if quantize else 0
    size = round(80_000 * share * (_BITS[scheme] - 0.4 * narrowed) / 8)
    return Figures(
        file_bytes=size, zip_bytes=size // 2, flash_bytes=size, score=0.9 - loss, drop=loss + narrowed / 2000
    )


@dataclass
class Arithmetic:
    """Carries out jobs, and counts them.

    Attributes:
        fails: Says of a job why it can't be carried out; empty where it can.
        done: Keys of the jobs that were.
        die_after: After so many, this process is dead.
    """

    fails: object = lambda job: ""
    done: list[str] = field(default_factory=list)
    die_after: int = 10**9
    backwards: bool = False
    training_s: float = 0.5

    def outcomes(self, jobs):
        for job in reversed(jobs) if self.backwards else jobs:
            if len(self.done) >= self.die_after:
                raise KeyboardInterrupt
            self.done.append(job.key)
            if why := self.fails(job):
                yield job, Outcome(figures=None, failure=why)
            else:
                yield job, Outcome(figures=figures_of(job), sha256=job.key, seconds=1.0, training_s=self.training_s)

    def artifact(self, sha256):
        return Path(sha256)


@dataclass
class Stopwatch:
    """Measures by arithmetic; every device is its own factor."""

    measured: list[tuple[str, str]] = field(default_factory=list)
    lost_after: int = 10**9
    factor: dict[str, float] = field(default_factory=dict)

    def __call__(self, artifact, device, threads):
        if len(self.measured) >= self.lost_after:
            raise DeviceError(f"{device} is gone", hint="plug it in")
        self.measured.append((str(artifact), device))
        digest = int(hashlib.sha256(str(artifact).encode()).hexdigest()[:8], 16)
        ms = self.factor.get(device, 1.0) * (1 + digest / 2**32) / threads
        return Timed(device=device, threads=threads, median_ms=ms, low_ms=ms, high_ms=ms, peak_memory_bytes=10**7)


def search_in(
    folder, ask=None, *, spread=None, measure=None, scope=None, sampler="tpe", seed=0, clock=None, watch=None, **limits
):
    """Run a search; a second one in the same folder goes on."""
    ask, limits = ask or Ask(), Limits(**{"trials": 40, "minutes": 1e9, **limits})
    scope = scope or Scope(targets=("tflite",), layered=True, calibrated=True, trainable=True)
    space = Space(scope, Operators())
    proposer = Proposer(
        space,
        objectives=2 + len(ask.devices),
        bounds=[bound.name for bound in ask.bounds],
        sampler=sampler,
        population=8,
        seed=seed,
    )
    with Store(folder / "search.sqlite", f"seed {seed}") as store:
        ticking = {"clock": clock} if clock else {}
        means = Means(spread=spread or Arithmetic(), measure=measure or Stopwatch(), store=store, **ticking)
        return Search(ask, space, proposer, means, limits, watch=watch).run()


@pytest.fixture
def searched(tmp_path):
    """Runs a search; a second one on the same store goes on."""
    return functools.partial(search_in, tmp_path)


def points(found, ask):
    """The Pareto set, as numbers and recipes."""
    return [
        (trial.name, *(round(value, 9) for value in objectives(trial.figures, ask.devices))) for trial in found.front
    ]
