"""Carry out a recipe: model in, proven artifact out."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinsmith.compress.bench import Bench
from tinsmith.compress.passes.base import QUANTITIES
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.planner import plan, target_of
from tinsmith.compress.resuming import WorkFolder
from tinsmith.compress.training.cluster import Cluster
from tinsmith.compress.training.tracking import Trackers
from tinsmith.convert.delivery import Delivery, Job, Made, Workbench, deliver
from tinsmith.convert.parity import FLOAT32, Tolerance
from tinsmith.runtime.files import bytes_of, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinsmith.compress.passes.base import PassResult
    from tinsmith.compress.planner import PlannedPass
    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.training.watching import Watcher
    from tinsmith.convert.model import Model

__all__ = ["Compression", "Training", "compress"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a recipe that trains is carried out.

    Attributes:
        resume: Go on where a killed run stood.
        watcher: Is told how each training goes.
        trackers: Where else the course is written.
    """

    resume: bool = False
    watcher: Watcher | None = None
    trackers: Trackers = field(default_factory=Trackers)


def compress(
    model: Path, recipe: Recipe, output: Path, *, training: Training | None = None, **settings: Any
) -> Compression:
    """Make a model smaller by a recipe, and prove what came out against what went in.

    Args:
        model: A model of any of the five formats; it is never changed.
        recipe: From ``load_recipe``.
        output: The artifact; ends in .tflite or .onnx. Its manifest is written beside it, and while passes train, a
            folder ``OUTPUT.work`` with what a resumed run needs.
        training: Who watches passes that train, and whether to go on where they stood.
        **settings: ``data``, ``seed``, ``allow`` and ``time_limit_s`` of ``Job``.

    Raises:
        TinsmithError: As the exit codes say; nothing is written then.
    """
    job = Job.of(model, output, **settings)
    planned = plan(job.source, recipe, target_of(recipe, output))
    course = _Course(job, planned, training or Training())
    with course.kept():
        delivery = deliver(job, course.carry_out, tolerance=course.tolerance, steps=course.documents)
    return Compression(
        source=job.source,
        source_bytes=bytes_of(job.source.path),
        passes=planned,
        measured=tuple(course.measured),
        delivery=delivery,
    )


class _Course:
    """The passes of one recipe, one after the other."""

    def __init__(self, job: Job, planned: tuple[PlannedPass, ...], training: Training) -> None:
        self._job, self._planned, self._training = job, planned, training
        self._work: WorkFolder | None = None
        self.measured: list[dict[str, float | str]] = []

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
        self._open_work(workbench)
        at, stands_for, teacher = self._job.source, None, None
        for number, planned in enumerate(self._planned):
            if planned.work.degrades and teacher is None and planned.takes in planned.work.takes:
                teacher = at
            logger.info("%s: %s", planned.work.kind, _announced(planned))
            result = self._result(number, at, self._bench(workbench, teacher))
            at, stands_for = result.model, result.stands_for or stands_for
            self.measured.append(dict(result.measured))
        return Made(path=at.path, stands_for=None if stands_for == self._job.source else stands_for)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what a resumed run needs, for as long as the output is not in its place."""
        try:
            yield
        except BaseException:
            if self._work is not None:
                self._work.abandon()
            raise
        if self._work is not None:
            self._work.clear()

    def _open_work(self, workbench: Workbench) -> None:
        if not any(isinstance(planned.work, TrainedPass) for planned in self._planned):
            return
        Cluster.of()  # what is wrong with TF_CONFIG is said before anything runs
        job = self._job
        data = "" if workbench.dataset is None else workbench.dataset.sha256
        run = f"{sha256_of(job.source.path)} {data} {job.seed}"
        self._work = WorkFolder(job.output, resume=self._training.resume, run=run)

    def _bench(self, workbench: Workbench, teacher: Model | None) -> Bench:
        folder = workbench.folder if self._work is None else self._work.path
        return Bench(
            folder=folder,
            dataset=workbench.dataset,
            seed=workbench.seed,
            allow_unsafe=workbench.allow_unsafe,
            data=None if self._job.data is None else str(self._job.data),
            teacher=teacher,
            checkpoints=None if self._work is None else folder,
            watcher=self._training.watcher,
            trackers=self._training.trackers,
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
