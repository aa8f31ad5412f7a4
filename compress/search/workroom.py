"""Recipes carried out on one model, and what comes of each, as figures."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.compress.budget import Budget
from tinsmith.compress.holding import refuse_blind
from tinsmith.compress.keeping import PassStore, run_of
from tinsmith.compress.planner import plan
from tinsmith.compress.recovery.costs import operators_by_cost, worst_operators
from tinsmith.compress.recovery.judging import Distance, Found, Judge
from tinsmith.compress.recovery.recovering import can_train, chosen_by
from tinsmith.compress.running import Runner
from tinsmith.compress.search.descent import scratch_of
from tinsmith.compress.search.figures import Figures
from tinsmith.compress.search.subject import ARTIFACTS_NAME, Baseline, Produced
from tinsmith.compress.search.trying import Outcome
from tinsmith.convert.calibration import no_samples
from tinsmith.convert.comparison import samples_for
from tinsmith.convert.data import Roles, open_dataset
from tinsmith.convert.delivery import Job as Delivering
from tinsmith.convert.delivery import Workbench
from tinsmith.convert.external_data import files_of
from tinsmith.convert.inspection.sizes import deflated_bytes, deflated_estimate
from tinsmith.convert.metrics import metric_for
from tinsmith.convert.parity import PROOF_SAMPLES
from tinsmith.convert.predictors import SandboxedArtifact, opened_predictor
from tinsmith.convert.suitability import suitability_of
from tinsmith.runtime.errors import DataError, ModelError, OutputError, TinsmithError
from tinsmith.runtime.files import sha256_of, staged_file
from tinsmith.runtime.preflight import refuse_unless_runs
from tinsmith.runtime.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.compress.keeping import Keeper, Steps
    from tinsmith.compress.passes.base import PassResult
    from tinsmith.compress.search.subject import Subject
    from tinsmith.compress.search.trying import Job
    from tinsmith.compress.training.watching import Beginning, EpochRecord, StepRecord
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.evaluation import Evaluation
    from tinsmith.convert.model import Model
    from tinsmith.convert.predictors import Predictor

__all__ = ["PASSES_NAME", "ModelRoom"]

PASSES_NAME = "passes"
# A larger file takes longer to deflate than a trial should wait for; it is told from a sample.
_DEFLATED_WHOLE_BYTES = 16 << 20
_EPOCHS_S = "seconds in epochs"
# A perfect error of 0 that was lost is infinitely worse, which JSON can't say.
_LOST_ALL = 1e6
_ANY = Budget(max_drop=1.0)
_ANY_CLASS = Budget(max_class_drop=1.0)


class ModelRoom:
    """The ``Workroom`` of one model: the source has answered the samples that judge, once.

    Args:
        subject: What trials are made of.
        folder: Results of passes and artifacts lie below it; other processes may share it.

    Attributes:
        baseline: What is known before anything is tried.

    Raises:
        DataError: The samples are not those that the bounds need.
        TinsmithError: The source or the samples can't be opened.
    """

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject, self._folder = subject, folder
        self._samples: Dataset | None = None
        self._base = Delivering.of(
            subject.model,
            folder / "trial",
            data=subject.data,
            seed=subject.seed,
            allow=subject.allow,
            time_limit_s=subject.time_limit_s,
            device=subject.device,
        )
        with opened_predictor(
            self._base.source, allow_unsafe=subject.allow.unsafe_layers, time_limit_s=subject.time_limit_s
        ) as source:
            self._dataset = None if subject.data is None else open_dataset(subject.data, source.inputs)
            self._judge, self._distance, self._baseline = self._look_at(source)
        self._store = PassStore(folder / PASSES_NAME, run_of(self._base, self._dataset, subject.metric))
        (folder / ARTIFACTS_NAME).mkdir(exist_ok=True)

    @property
    def baseline(self) -> Baseline:
        """See above."""
        return self._baseline

    def carry_out(self, job: Job) -> Produced:
        """See ``Workroom``."""
        began = time.monotonic()
        clock = _Clocked(self._store)
        try:
            with tempfile.TemporaryDirectory(prefix=scratch_of(os.getpid()), dir=self._folder) as scratch:
                runner = self._runner(job, Path(scratch), clock)
                with runner.writers_named():
                    asked = job.effort in ("narrowing", "worst")
                    produced = self._asked(job, runner) if asked else self._made(job, runner)
        except OutputError:
            raise
        except TinsmithError as error:
            produced = Produced(outcome=Outcome(figures=None, failure=error.message), path=None)
        spent = replace(produced.outcome, seconds=_since(began), training_s=round(clock.epochs_s, 3))
        return replace(produced, outcome=spent)

    def _made(self, job: Job, runner: Runner) -> Produced:
        planned = plan(self._base.source, job.carried_out, job.target)
        # the child that will load the artifact starts now: its imports overlap with the work
        with Sandbox(time_limit_s=self._base.time_limit_s) as sandbox:
            artifact = runner.run(planned, looks=False).model
            self._refuse(artifact)
            figures = self._figures(artifact.path, self._found(artifact.path, sandbox))
        sha256, path = self._put(artifact)
        return Produced(outcome=Outcome(figures=figures, sha256=sha256), path=path)

    def _asked(self, job: Job, runner: Runner) -> Produced:
        """What single operators cost."""
        if job.effort == "worst":
            names = worst_operators(runner, job.recipe, job.target, self._distance)
            found = tuple((name, 0) for name in names)
        elif self._samples is None:
            raise no_samples()
        else:
            costs = operators_by_cost(runner, job.recipe, job.target, self._samples)
            found = tuple((cost.name, cost.saved_bytes) for cost in costs)
        return Produced(outcome=Outcome(figures=None, operators=found), path=None)

    def _runner(self, job: Job, scratch: Path, clock: _Clocked) -> Runner:
        asked = replace(self._base, output=scratch / f"trial.{job.target}")
        workbench = Workbench(
            folder=scratch,
            dataset=self._dataset,
            seed=asked.seed,
            allow_unsafe=asked.allow.unsafe_layers,
            device=asked.device,
        )
        return Runner(asked, workbench, clock, watcher=clock, metric=self._subject.metric)

    def _refuse(self, artifact: Model) -> None:
        """What could not be shipped; raises ``ModelError``."""
        if len(files_of(artifact)) > 1:
            raise ModelError(
                "its weights lie in a file beside it, which a search can't take along",
                hint="search on a model below 2 GiB",
            )
        suitability = suitability_of(artifact.path, self._base.device)
        if suitability.preflight is not None:
            refuse_unless_runs(suitability.preflight, artifact.path.name)

    def _found(self, artifact: Path, sandbox: Sandbox) -> Found:
        if self._judge is not None:
            found = self._judge(artifact, sandbox)
        else:
            with SandboxedArtifact(artifact, sandbox) as opened:
                found = Found(after=None, agreement=None, misses=(), distance=self._distance.of(opened))
        if self._distance.is_finite and not math.isfinite(found.distance):
            raise ModelError("it answers NaN or infinity, and its source does not")
        return found

    def _figures(self, artifact: Path, found: Found) -> Figures:
        size = artifact.stat().st_size
        zipped = deflated_bytes(artifact) if size <= _DEFLATED_WHOLE_BYTES else deflated_estimate(artifact)[0]
        figures = Figures(
            file_bytes=size, zip_bytes=zipped, flash_bytes=size, agreement=found.agreement, distance=found.distance
        )
        before = None if self._judge is None else self._judge.before
        return figures if before is None or found.after is None else _with_losses(figures, before, found.after)

    def _put(self, artifact: Model) -> tuple[str, Path]:
        """Put it where it stays, under its own hash."""
        sha256 = sha256_of(artifact.path)
        path = self._folder / ARTIFACTS_NAME / f"{sha256}.{artifact.format}"
        if not path.exists():
            with staged_file(path) as staged:
                shutil.copyfile(artifact.path, staged)
        return sha256, path

    def _look_at(self, source: Predictor) -> tuple[Judge | None, Distance, Baseline]:
        """Run the source on the samples that judge, or on random ones where there are none."""
        budget = self._subject.budget
        if self._dataset is None:
            refuse_blind(budget, None)
            few = samples_for(source.inputs, None, limit=PROOF_SAMPLES, seed=self._subject.seed)
            return None, Distance(source, few.feeds, time_limit_s=self._base.time_limit_s), Baseline()
        roles = Roles(self._dataset, seed=self._subject.seed)
        trainable = can_train(self._base.source, roles)
        samples = chosen_by(roles, apart=trainable)
        _refuse_unseen(budget, roles, samples)
        self._samples = samples
        metric = metric_for(self._subject.metric, samples) if samples.has_answers else None
        judge = Judge(source, samples, Budget(min_agreement=budget.min_agreement), metric,
                      time_limit_s=self._base.time_limit_s)  # fmt: skip
        baseline = Baseline(
            metric="" if metric is None else metric.name,
            score=None if judge.before is None else judge.before.score,
            samples=len(samples),
            judged_on=samples.name,
            data_sha256=self._dataset.sha256,
            trainable=trainable,
        )
        return judge, judge.error, baseline


class _Clocked:
    """Keeps what passes gave, with the time that went into epochs: a training that is not repeated took it as well.

    Args:
        store: Keeps it.

    Attributes:
        epochs_s: Of all trainings that were asked for.
    """

    def __init__(self, store: Keeper) -> None:
        self._store, self.epochs_s = store, 0.0
        self._running_s = 0.0

    @property
    def shelf(self) -> Path:
        """See ``Keeper``."""
        return self._store.shelf

    def checkpoints(self, steps: Steps) -> Path:
        """See ``Keeper``."""
        return self._store.checkpoints(steps)

    def result(self, steps: Steps, taken: Model, make: Callable[[], PassResult]) -> PassResult:
        """See ``Keeper``."""

        def clocked() -> PassResult:
            self._running_s = 0.0
            made = make()
            spent = {_EPOCHS_S: round(self._running_s, 3)} if self._running_s else {}
            return replace(made, measured={**made.measured, **spent})

        found = self._store.result(steps, taken, clocked)
        self.epochs_s += float(found.measured.get(_EPOCHS_S, 0.0))
        return found

    def began(self, beginning: Beginning) -> None:
        """See ``Watcher``."""
        self._running_s += sum(record.seconds for record in beginning.history)

    def stepped(self, record: StepRecord) -> None:
        """See ``Watcher``."""

    def epoch_done(self, record: EpochRecord) -> None:
        """See ``Watcher``."""
        self._running_s += record.seconds

    def ended(self, *, finished: bool) -> None:
        """See ``Watcher``."""


def _refuse_unseen(budget: Budget, roles: Roles, samples: Dataset) -> None:
    """Trials are many, and are not chosen by what they were calibrated on where the user has split the samples."""
    judging = roles.validation if roles.split_by_user and budget.needs_answers else samples
    try:
        refuse_blind(budget, judging)
    except DataError as error:
        hint = "give the samples a validation split with labels; --min-agreement works without labels"
        raise DataError(error.message, hint=hint) from error


def _with_losses(figures: Figures, before: Evaluation, after: Evaluation) -> Figures:
    drop = _ANY.verdicts(before, after, None)[0].reached
    figures = replace(figures, score=after.score, drop=min(drop, _LOST_ALL))
    with contextlib.suppress(DataError):  # there are neither classes nor slices
        worst = _ANY_CLASS.verdicts(before, after, None)[0]
        return replace(figures, class_drop=min(worst.reached, _LOST_ALL), worst=worst.of)
    return figures


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
