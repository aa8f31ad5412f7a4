"""Carry out a recipe: model in, proven artifact out."""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tinsmith.compress.balance import Balance, Scales, computes_in_integers, judge, judged_on, look_at_speed
from tinsmith.compress.holding import hold, refuse_blind
from tinsmith.compress.hygiene import hygiene_of
from tinsmith.compress.keeping import PassStore, run_of
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.planner import plan, target_of
from tinsmith.compress.recovery import Climb, Ground, Recovery, recover
from tinsmith.compress.recovery.rungs import quantizes
from tinsmith.compress.resuming import WorkFolder
from tinsmith.compress.running import Runner, announced, documents_of, tolerance_of
from tinsmith.compress.training.cluster import Cluster
from tinsmith.compress.training.tracking import Trackers, open_trackers
from tinsmith.compress.training.watching import Watchers
from tinsmith.convert.delivery import Delivery, Job, Made, Proven, Unrun, Workbench, deliver
from tinsmith.convert.external_data import files_of
from tinsmith.convert.room import why_too_large
from tinsmith.runtime.errors import DataError, MissingDependencyError
from tinsmith.runtime.files import bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tinsmith.compress.budget import Verdict
    from tinsmith.compress.keeping import Keeper
    from tinsmith.compress.planner import PlannedPass
    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.running import Outcome
    from tinsmith.compress.training.watching import Watcher
    from tinsmith.convert.data import Dataset
    from tinsmith.convert.data.hygiene import Hygiene
    from tinsmith.convert.layers import LayerReport
    from tinsmith.convert.model import Model

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
        layers: What quantizing did to each layer's numbers; None where nothing was quantized, or no look was possible.
        verdicts: What became of each bound of the budget.
        hygiene: Of the samples that were calibrated on; None where there were none.
        climb: What the recovery ladder tried; None where there was no budget, or nothing that it could work on.
    """

    source: Model
    source_bytes: int
    passes: tuple[PlannedPass, ...]
    measured: tuple[dict[str, float | str], ...]
    delivery: Delivery
    balance: Balance
    layers: LayerReport | None = None
    verdicts: tuple[Verdict, ...] = ()
    hygiene: Hygiene | None = None
    climb: Climb | None = None

    @property
    def misses(self) -> tuple[Verdict, ...]:
        """The bounds of the budget that were not kept; the artifact is what was reached."""
        return tuple(verdict for verdict in self.verdicts if verdict.missed)

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
            "layers": None if self.layers is None else self.layers.to_json(),
            "recovery": None if self.climb is None else self.climb.to_json(),
            "budget": [verdict.to_json() for verdict in self.verdicts],
            "calibration": None if self.hygiene is None else asdict(self.hygiene),
            **self.delivery.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a recipe that trains is carried out.

    Attributes:
        resume: Go on where a killed run stood.
        watcher: Is told how each training goes.
        trackers: Where else the course of each is written.
        kept: Folder of a ``PassStore`` from which trainings are taken that were done before, and which gets new ones;
            there is no ``OUTPUT.work`` then. None to keep nothing for others.
        announce: Is told of each pass before it runs; by default it is logged. None for nobody.
    """

    resume: bool = False
    watcher: Watcher | None = None
    trackers: Trackers = field(default_factory=Trackers)
    kept: Path | None = None
    announce: Callable[[PlannedPass], None] | None = announced


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
    recovery: Recovery | None = None,
    **settings: Any,
) -> Compression:
    """Make a model smaller by a recipe, and prove what came out against what went in.

    Args:
        model: A model of any of the five formats; it is never changed.
        recipe: From ``load_recipe``.
        output: The artifact; ends in .tflite or .onnx. Its manifest is written beside it, and while passes train, a
            folder ``OUTPUT.work`` with what a resumed run needs.
        metric: What judges models, by its name; None for the usual one, see ``metric_for``.
        training: Who is told of passes, and watches those that train, and whether to go on where they stood.
        recovery: What it may cost, and how long to look for a recipe that costs no more; None bounds nothing. An
            artifact that costs more is written all the same; ``misses`` says what it missed.
        **settings: ``data``, ``seed``, ``allow``, ``time_limit_s`` and ``device`` of ``Job.of``.

    Raises:
        TinsmithError: As the exit codes say; nothing is written then.
    """
    job = Job.of(model, output, **settings)
    planned = plan(job.source, recipe, target_of(recipe, output))
    course = _Course(job, recipe, planned, training or Training(), metric, recovery or Recovery())
    streamed_bytes = _streamed_bytes(job, planned)
    if streamed_bytes is not None and course.bound and (why := why_too_large(job.source)):
        raise DataError(f"the budget can't be held: {why}", hint="leave it out, or run it where there is more memory")
    with course.kept(), _preloaded(planned):
        delivery = deliver(job, course.carry_out, weigh=course.weigh, streamed_bytes=streamed_bytes)
    return Compression(
        source=job.source,
        source_bytes=sum(bytes_of(file) for file in files_of(job.source)),
        passes=course.outcome.planned,
        measured=course.outcome.measured,
        delivery=delivery,
        balance=course.balance,
        layers=course.outcome.layers,
        verdicts=course.verdicts,
        hygiene=course.hygiene,
        climb=course.climb,
    )


def _streamed_bytes(job: Job, planned: tuple[PlannedPass, ...]) -> int | None:
    """What comes out, where the only pass streams weights; None where the model has to fit into memory."""
    return planned[0].work.streamed_bytes(job.source) if len(planned) == 1 else None


@contextlib.contextmanager
def _preloaded(planned: tuple[PlannedPass, ...]) -> Iterator[None]:
    """Let passes import their tools while a child process opens the source, which this one only waits for."""

    def preload() -> None:
        with contextlib.suppress(MissingDependencyError):  # the pass says it again, with what it is needed for
            for one in planned:
                one.work.preload()

    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(preload)
        yield


class _Course:
    """The way of one model through its recipe."""

    def __init__(
        self,
        job: Job,
        recipe: Recipe,
        planned: tuple[PlannedPass, ...],
        training: Training,
        metric: str | None,
        recovery: Recovery,
    ) -> None:
        self._job, self._recipe, self._planned = job, recipe, planned
        self._training, self._metric, self._recovery = training, metric, recovery
        self._target = target_of(recipe, job.output)
        self._work: WorkFolder | None = None
        self._keeper: Keeper | None = None
        self._workbench: Workbench | None = None
        self._runner: Runner | None = None
        self._outcome: Outcome | None = None
        self._scales = Scales()
        self._ground: Ground | None = None
        self._balance: Balance | None = None
        self.verdicts: tuple[Verdict, ...] = ()
        self.hygiene: Hygiene | None = None
        self.climb: Climb | None = None

    @property
    def bound(self) -> bool:
        """Whether the user has bounded what it may cost."""
        return bool(self._recovery.budget.bounds)

    @property
    def outcome(self) -> Outcome:
        """What the passes gave, once they ran."""
        assert self._outcome is not None
        return self._outcome

    @property
    def balance(self) -> Balance:
        """What was moved, once it was weighed."""
        assert self._balance is not None
        return self._balance

    def carry_out(self, workbench: Workbench) -> Made:
        """Run all passes."""
        self._workbench = workbench
        refuse_blind(self._recovery.budget, self._judging)
        watchers = self._open_watchers()
        self._open_work(workbench)
        self._runner = Runner(self._job, self._workbench, self._keeper, watcher=watchers, metric=self._metric)
        if self._job.source.is_artifact:
            self._scales.put(self._job.source.path)
        with self._runner.writers_named():
            planned = self._climbed(workbench)
        self._outcome = outcome = self._runner.run(planned, self._training.announce)
        self._scales.put(outcome.model.path)
        return Made(
            path=outcome.model.path,
            tolerance=tolerance_of(outcome.planned),
            steps=documents_of(outcome.planned),
            stands_for=outcome.stands_for,
            writer=outcome.writer,
        )

    def weigh(self, proven: Proven | Unrun) -> None:
        """Hold what came out against the source as a plain artifact."""
        if isinstance(proven, Unrun):
            self._weigh_unrun(proven)
            return
        assert self._workbench is not None
        assert self._runner is not None
        baseline = self._runner.plain(self.outcome.planned, self._target).path
        samples = self._judging
        judged, unjudged = judge(proven, samples, self._metric)
        steps = [planned.step for planned in self.outcome.planned]
        self.hygiene = hygiene_of(steps, self._workbench.roles, proven.source, self._job.source)
        self.verdicts = hold(self._recovery.budget, proven, samples, judged, unjudged)
        self._balance = Balance(
            announced=self._recipe.moves,
            before=self._scales.sizes(baseline),
            after=self._scales.sizes(proven.path),
            judged=judged,
            unjudged=unjudged,
            speed=None if self._elsewhere else look_at_speed(baseline, proven, time_limit_s=self._job.time_limit_s),
            untimed="the artifact is for another machine" if self._elsewhere else "",
            integers=computes_in_integers(proven.path) and not computes_in_integers(baseline),
        )

    def _weigh_unrun(self, unrun: Unrun) -> None:
        self._balance = Balance(
            announced=self._recipe.moves,
            before=self._scales.sizes(self._job.source.path),
            after=self._scales.sizes(unrun.path),
            judged=None,
            unjudged=unrun.why,
            speed=None,
            untimed=unrun.why,
        )

    @property
    def _elsewhere(self) -> bool:
        """Whether the artifact is made for another machine, whose time is not known here."""
        return self._job.device is not None and self._job.device.kind != "host"

    @property
    def _climbs(self) -> bool:
        """Whether there is a bound to keep, and a recipe that the ladder can work on."""
        return self.bound and quantizes(self._recipe)

    def _climbed(self, workbench: Workbench) -> tuple[PlannedPass, ...]:
        """The plan of the recipe that meets the budget, or comes nearest to it; the user's own without a budget."""
        if not self._climbs:
            return self._planned
        assert self._runner is not None
        ground = Ground.of(self._job, workbench.roles, self._recipe, self._target, self._recovery.budget)
        log = None if self._work is None else self._work.path / "trials.json"
        self.climb = recover(self._runner, self._recipe, ground, self._recovery, metric=self._metric, log=log)
        self._recipe, self._ground = self.climb.recipe, ground
        return plan(self._job.source, self._recipe, self._target)

    @property
    def _judging(self) -> Dataset | None:
        """The samples that decide: where nothing is kept for the last word, those that the ladder has chosen by."""
        assert self._workbench is not None
        roles = self._workbench.roles
        if self._ground is not None and roles is not None and not roles.split_by_user:
            return self._ground.samples
        return judged_on(self._workbench.roles, self._recipe.needs)

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

    def _open_watchers(self) -> Watchers:
        if self._recipe.needs.training:
            return watchers_of(self._training)
        if self._training.trackers.named:
            logger.warning("no step of this recipe trains, so that nothing is tracked")
        return Watchers([])

    def _open_work(self, workbench: Workbench) -> None:
        trains = self._climbs or any(isinstance(planned.work, TrainedPass) for planned in self._planned)
        if trains:
            Cluster.of()  # what is wrong with TF_CONFIG is said before anything runs
        if self._training.kept is not None:
            self._keeper = PassStore(self._training.kept, run_of(self._job, workbench.dataset, self._metric))
        elif trains:
            run = run_of(self._job, workbench.dataset, self._metric)
            self._keeper = self._work = WorkFolder(self._job.output, resume=self._training.resume, run=run)
            self._workbench = replace(workbench, folder=self._work.path)
