"""Run the passes of a plan, one after the other, and none of them twice on the same input."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tinsmith.compress.bench import Bench
from tinsmith.compress.passes.base import QUANTITIES
from tinsmith.compress.passes.conversion import Convert, ConvertStep
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.convert.parity import FLOAT32, Tolerance
from tinsmith.convert.writers import CONVERSION, writers_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tinsmith.compress.keeping import Keeper
    from tinsmith.compress.passes.base import Form, PassResult
    from tinsmith.compress.planner import PlannedPass, Target
    from tinsmith.convert.delivery import Job, Workbench
    from tinsmith.convert.layers import LayerReport
    from tinsmith.convert.model import Model

__all__ = ["Outcome", "Runner", "announced", "documents_of", "tolerance_of"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the passes of one plan gave.

    Attributes:
        planned: The plan.
        model: The last model.
        stands_for: The trained model whose answers it has; None where they are still the source's.
        measured: What each pass found out, in order.
        layers: What the last quantization did to each layer's numbers; None where there was none.
        writer: The step that wrote the model; empty where it is the source.
    """

    planned: tuple[PlannedPass, ...]
    model: Model
    stands_for: Model | None
    measured: tuple[dict[str, float | str], ...]
    layers: LayerReport | None
    writer: str = ""


class Runner:
    """Runs plans on one source. Plans that begin alike share what their first passes gave.

    Args:
        job: What the user asked for.
        workbench: Where models between the passes go.
        keeper: Keeps what they give for other runs; None where there is nothing worth it.
        settings: ``watcher`` and ``metric`` of ``Bench``.

    Attributes:
        job: What the user asked for.
    """

    def __init__(self, job: Job, workbench: Workbench, keeper: Keeper | None, **settings: Any) -> None:
        self.job, self._workbench, self._keeper, self._settings = job, workbench, keeper, settings
        self._found: dict[str, PassResult] = {}
        self._plain: Model | None = None
        self._writers: dict[Path, str] = {}

    def run(
        self,
        planned: tuple[PlannedPass, ...],
        announce: Callable[[PlannedPass], None] | None = None,
        *,
        looks: bool = True,
    ) -> Outcome:
        """Run them all.

        Args:
            planned: From ``plan``, for the job's source.
            announce: Is told of each pass before it runs.
            looks: Whether passes look at each layer, for the report.

        Raises:
            TinsmithError: A pass can't work here, or its promise did not hold.
            StepDefectError: An engine died on what one of them wrote.
        """
        at, stands_for, teacher = self.job.source, None, None
        made: frozenset[Form] = frozenset()
        measured, layers = [], None
        for number, one in enumerate(planned):
            if one.work.degrades and teacher is None and one.takes in one.work.takes:
                teacher = at
            if announce:
                announce(one)
            bench = replace(self.bench(teacher), number=number + 1, made=made, looks=looks)
            with self.writers_named(at_work=one.work.kind):
                result = self._result(planned[: number + 1], at, bench)
            if result.modified:
                self._writers[result.model.path] = one.work.kind
            if isinstance(one.work, Convert) and at == self.job.source:
                self._plain = result.model
            at, stands_for, made = result.model, result.stands_for or stands_for, made | one.work.makes
            measured.append(dict(result.measured))
            layers = result.layers or layers
        stands_for = None if stands_for == self.job.source else stands_for
        return Outcome(
            planned=planned,
            model=at,
            stands_for=stands_for,
            measured=tuple(measured),
            layers=layers,
            writer=self._writers.get(at.path, ""),
        )

    def plain(self, planned: tuple[PlannedPass, ...], target: Target) -> Model:
        """The source as a float artifact, made by the plan's own conversion; itself where it is one already."""
        if self._plain is None and self.job.source.format != target:
            conversions = [one.work for one in planned if isinstance(one.work, Convert)]
            work = conversions[0] if conversions else Convert(ConvertStep(), target=target)
            self._plain = work.apply(self.job.source, self.bench(None)).model
        return self._plain or self.job.source

    @contextlib.contextmanager
    def writers_named(self, *, at_work: str = CONVERSION) -> Iterator[None]:
        """As the function, for what this has run.

        Args:
            at_work: The step that writes now.
        """
        with writers_named([self.job.source.path], self._writers, otherwise=at_work):
            yield

    def bench(self, teacher: Model | None) -> Bench:
        """What a pass has at hand."""
        return Bench(
            folder=self._workbench.folder,
            dataset=self._workbench.dataset,
            seed=self._workbench.seed,
            allow_unsafe=self._workbench.allow_unsafe,
            device=self._workbench.device,
            data=None if self.job.data is None else str(self.job.data),
            teacher=teacher,
            beside=None if self._keeper is None else self._keeper.shelf,
            artifact=self.job.output.name,
            **self._settings,
        )

    def _result(self, planned: tuple[PlannedPass, ...], at: Model, bench: Bench) -> PassResult:
        """What the last pass gives; taken from what is kept where it has finished before."""
        steps = [{**one.step.document(), "gives": one.gives} for one in planned]
        key = json.dumps([bench.looks, *steps], sort_keys=True)
        if key not in self._found:
            self._found[key] = self._kept(planned[-1], steps, at, bench)
        return self._found[key]

    def _kept(self, one: PlannedPass, steps: list[dict[str, Any]], at: Model, bench: Bench) -> PassResult:
        if self._keeper is None or not _worth_keeping(one, bench):
            return one.work.apply(at, bench)
        keeper = self._keeper

        def make() -> PassResult:
            trains = isinstance(one.work, TrainedPass)
            return one.work.apply(at, replace(bench, checkpoints=keeper.checkpoints(steps)) if trains else bench)

        return keeper.result(steps, at, make)


def _worth_keeping(one: PlannedPass, bench: Bench) -> bool:
    """Trainings always are; else what other recipes may go on from, without the look that a report is written from."""
    if isinstance(one.work, TrainedPass):
        return True
    return not bench.looks and "integers" not in one.work.makes | bench.made


def documents_of(planned: Sequence[PlannedPass]) -> list[dict[str, Any]]:
    """The steps in full, for the lineage."""
    return [one.step.document() for one in planned]


def tolerance_of(planned: Sequence[PlannedPass]) -> Tolerance:
    """The loosest of the passes whose answers are proven: each may move them a little further.

    What comes before a training does not count: the artifact is proven against what the training gave.
    """
    trained = [at for at, one in enumerate(planned) if isinstance(one.work, TrainedPass)]
    proven = planned[trained[-1] :] if trained else planned
    tolerances = [FLOAT32, *(one.work.tolerance for one in proven)]
    unbound = [t for t in tolerances if t.relative is None]
    return unbound[-1] if unbound else max(tolerances, key=lambda t: t.relative or 0.0)


def announced(one: PlannedPass) -> None:
    """Say what is going to move, before it runs."""
    effects = one.step.effects
    moved = ", ".join(quantity for quantity in QUANTITIES if quantity in effects.moves)
    stays = ", ".join(quantity for quantity in QUANTITIES if quantity not in effects.moves)
    said = f"moves {moved}; not {stays}" if moved and stays else f"moves {moved or 'nothing'}"
    logger.info("%s: %s", one.work.kind, f"{said} ({effects.remark})" if effects.remark else said)
