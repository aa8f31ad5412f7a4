"""Carry out a recipe: model in, proven artifact out."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tinsmith.compress.balance import Balance, Scales, computes_in_integers, judge, judged_on, look_at_speed
from tinsmith.compress.bench import Bench
from tinsmith.compress.passes.base import QUANTITIES
from tinsmith.compress.passes.conversion import Convert, ConvertStep
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.planner import Target, plan, target_of
from tinsmith.compress.resuming import WorkFolder
from tinsmith.compress.training.cluster import Cluster
from tinsmith.compress.training.tracking import Trackers, open_trackers
from tinsmith.compress.training.watching import Watchers
from tinsmith.convert.delivery import Delivery, Job, Made, Proven, Workbench, deliver
from tinsmith.convert.parity import FLOAT32, Tolerance
from tinsmith.runtime.files import bytes_of, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinsmith.compress.passes.base import Form, PassResult
    from tinsmith.compress.planner import PlannedPass
    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.training.watching import Watcher
    from tinsmith.convert.model import Model
    from tinsmith.runtime.pairs import PairTiming

__all__ = ["Compression", "Training", "compress", "watchers_of"]

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
        balance: Every quantity before and after.
    """

    source: Model
    source_bytes: int
    passes: tuple[PlannedPass, ...]
    measured: tuple[dict[str, float | str], ...]
    delivery: Delivery
    balance: Balance

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
            "moved": self.balance.to_json(),
            **self.delivery.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a recipe that trains is carried out.

    Attributes:
        resume: Go on where a killed run stood.
        watcher: Is told how each training goes.
        trackers: Where else the course of each is written.
    """

    resume: bool = False
    watcher: Watcher | None = None
    trackers: Trackers = field(default_factory=Trackers)


def watchers_of(training: Training) -> Watchers:
    """Everyone who is told, trackers among them; raises as ``open_trackers``."""
    watchers = [] if training.watcher is None else [training.watcher]
    return Watchers([*watchers, *open_trackers(training.trackers)])


def compress(
    model: Path,
    recipe: Recipe,
    output: Path,
    *,
    metric: str | None = None,
    training: Training | None = None,
    **settings: Any,
) -> Compression:
    """Make a model smaller by a recipe, and prove what came out against what went in.

    Args:
        model: A model of any of the five formats; it is never changed.
        recipe: From ``load_recipe``.
        output: The artifact; ends in .tflite or .onnx. Its manifest is written beside it, and while passes train, a
            folder ``OUTPUT.work`` with what a resumed run needs.
        metric: What judges models, by its name; None for the usual one, see ``metric_for``.
        training: Who watches passes that train, and whether to go on where they stood.
        **settings: ``data``, ``seed``, ``allow``, ``time_limit_s`` and ``device`` of ``Job.of``.

    Raises:
        TinsmithError: As the exit codes say; nothing is written then.
    """
    job = Job.of(model, output, **settings)
    planned = plan(job.source, recipe, target_of(recipe, output))
    course = _Course(job, recipe, planned, training or Training(), metric)
    with course.kept():
        made: Any = {"tolerance": course.tolerance, "steps": course.documents, "weigh": course.weigh}
        delivery = deliver(job, course.carry_out, **made)
    return Compression(
        source=job.source,
        source_bytes=bytes_of(job.source.path),
        passes=planned,
        measured=tuple(course.measured),
        delivery=delivery,
        balance=course.balance,
    )


class _Course:
    """The passes of one recipe, one after the other."""

    def __init__(
        self,
        job: Job,
        recipe: Recipe,
        planned: tuple[PlannedPass, ...],
        training: Training,
        metric: str | None,
    ) -> None:
        self._job, self._recipe, self._planned = job, recipe, planned
        self._training, self._metric = training, metric
        self._work: WorkFolder | None = None
        self._workbench: Workbench | None = None
        self._plain: Model | None = None
        self._scales = Scales()
        self._balance: Balance | None = None
        self._watchers = Watchers([])
        self.measured: list[dict[str, float | str]] = []

    @property
    def balance(self) -> Balance:
        """What was moved, once it was weighed."""
        assert self._balance is not None
        return self._balance

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The steps in full, for the lineage."""
        return [planned.step.document() for planned in self._planned]

    @property
    def tolerance(self) -> Tolerance:
        """The loosest of the passes whose answers are proven: each may move them a little further.

        What comes before a training does not count: the artifact is proven against what the training gave.
        """
        trained = [at for at, planned in enumerate(self._planned) if isinstance(planned.work, TrainedPass)]
        proven = self._planned[trained[-1] :] if trained else self._planned
        tolerances = [FLOAT32, *(planned.work.tolerance for planned in proven)]
        unbound = [t for t in tolerances if t.relative is None]
        return unbound[-1] if unbound else max(tolerances, key=lambda t: t.relative or 0.0)

    def carry_out(self, workbench: Workbench) -> Made:
        """Run them all."""
        self._workbench = workbench
        self._open_watchers()
        self._open_work(workbench)
        if self._job.source.is_artifact:
            self._scales.put(self._job.source.path)
        at, stands_for, teacher = self._job.source, None, None
        made: frozenset[Form] = frozenset()
        for number, planned in enumerate(self._planned):
            if planned.work.degrades and teacher is None and planned.takes in planned.work.takes:
                teacher = at
            logger.info("%s: %s", planned.work.kind, _announced(planned))
            result = self._result(number, at, replace(self._bench(workbench, teacher), number=number + 1, made=made))
            if isinstance(planned.work, Convert) and at == self._job.source:
                self._plain = result.model
            at, stands_for, made = result.model, result.stands_for or stands_for, made | planned.work.makes
            self.measured.append(dict(result.measured))
        self._scales.put(at.path)
        return Made(path=at.path, stands_for=None if stands_for == self._job.source else stands_for)

    def weigh(self, proven: Proven) -> None:
        """Hold what came out against the source as a plain artifact."""
        assert self._workbench is not None
        baseline = self._baseline(self._workbench)
        samples = judged_on(self._workbench.roles, trains=self._recipe.needs.training)
        judged, unjudged = judge(proven, samples, self._metric)
        self._balance = Balance(
            announced=self._recipe.moves,
            before=self._scales.sizes(baseline),
            after=self._scales.sizes(proven.path),
            judged=judged,
            unjudged=unjudged,
            speed=self._speed(baseline, proven),
            integers=computes_in_integers(proven.path) and not computes_in_integers(baseline),
        )

    def _speed(self, baseline: Path, proven: Proven) -> PairTiming | None:
        """Timed where this machine is what the artifact is made for; what another one would need is not known here."""
        if self._job.device is not None and self._job.device.kind != "host":
            return None
        return look_at_speed(baseline, proven, time_limit_s=self._job.time_limit_s)

    def _baseline(self, workbench: Workbench) -> Path:
        """The source as a float artifact of the target's format; itself where it is one already."""
        if self._plain is None and self._job.source.format != self._planned_target:
            conversions = [planned.work for planned in self._planned if isinstance(planned.work, Convert)]
            work = conversions[0] if conversions else Convert(ConvertStep(), target=self._planned_target)
            self._plain = work.apply(self._job.source, self._bench(workbench, None)).model
        return (self._plain or self._job.source).path

    @property
    def _planned_target(self) -> Target:
        return target_of(self._recipe, self._job.output)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what a resumed run needs, for as long as the output is not in its place."""
        try:
            yield
        except BaseException:
            if self._work is not None:
                self._work.abandon()
            raise
        finally:
            self._scales.close()
        if self._work is not None:
            self._work.clear()

    def _open_watchers(self) -> None:
        if self._recipe.needs.training:
            self._watchers = watchers_of(self._training)
        elif self._training.trackers.named:
            logger.warning("no step of this recipe trains, so that nothing is tracked")

    def _open_work(self, workbench: Workbench) -> None:
        if not any(isinstance(planned.work, TrainedPass) for planned in self._planned):
            return
        Cluster.of()  # what is wrong with TF_CONFIG is said before anything runs
        job = self._job
        data = "" if workbench.dataset is None else workbench.dataset.sha256
        run = f"{sha256_of(job.source.path)} {data} {job.seed} {self._metric}"
        self._work = WorkFolder(job.output, resume=self._training.resume, run=run)

    def _bench(self, workbench: Workbench, teacher: Model | None) -> Bench:
        folder = workbench.folder if self._work is None else self._work.path
        return Bench(
            folder=folder,
            dataset=workbench.dataset,
            seed=workbench.seed,
            allow_unsafe=workbench.allow_unsafe,
            device=workbench.device,
            data=None if self._job.data is None else str(self._job.data),
            teacher=teacher,
            checkpoints=None if self._work is None else folder,
            watcher=self._watchers,
            metric=self._metric,
            artifact=self._job.output.name,
        )

    def _result(self, number: int, at: Model, bench: Bench) -> PassResult:
        """What a pass gives; taken from the work folder where it has finished before."""
        work = self._planned[number].work
        if self._work is None or not isinstance(work, TrainedPass):
            return work.apply(at, bench)
        steps = self.documents[: number + 1]
        result = self._work.finished(steps)
        if result is None:
            result = work.apply(at, bench)
            self._work.keep(steps, result)
        return result


def _announced(planned: PlannedPass) -> str:
    """What is going to move, before it runs."""
    effects = planned.step.effects
    moved = ", ".join(quantity for quantity in QUANTITIES if quantity in effects.moves)
    stays = ", ".join(quantity for quantity in QUANTITIES if quantity not in effects.moves)
    said = f"moves {moved}; not {stays}" if moved and stays else f"moves {moved or 'nothing'}"
    return f"{said} ({effects.remark})" if effects.remark else said
