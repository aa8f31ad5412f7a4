"""From a model and bounds to the artifacts that keep them: what ``tinsmith search`` does."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from tinsmith.compress.balance import computes_in_integers
from tinsmith.compress.search.delivering import Delivering
from tinsmith.compress.search.folder import Folder
from tinsmith.compress.search.proposing import Proposer
from tinsmith.compress.search.record import Record
from tinsmith.compress.search.searching import Limits, Means, Search
from tinsmith.compress.search.sensing import MeasuredSensitivities
from tinsmith.compress.search.space import Scope, Space
from tinsmith.compress.search.store import Store
from tinsmith.compress.search.timing import TimedBy, refuse_emulated
from tinsmith.compress.search.tracking import SearchTracking, search_run
from tinsmith.compress.training.tracking import Trackers, open_trial_trackers
from tinsmith.convert.external_data import files_of
from tinsmith.convert.model import identify
from tinsmith.convert.tool_versions import tool_versions
from tinsmith.runtime.errors import ModelError, StepDefectError, VerificationError
from tinsmith.runtime.files import bytes_of, sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tinsmith.compress.planner import Target
    from tinsmith.compress.recipe import Recipe
    from tinsmith.compress.search.bounds import Ask
    from tinsmith.compress.search.found import Found
    from tinsmith.compress.search.proposing import Sampler
    from tinsmith.compress.search.searching import Watch
    from tinsmith.compress.search.space import Choices
    from tinsmith.compress.search.subject import Subject
    from tinsmith.compress.search.timing import Stopwatch
    from tinsmith.compress.search.trial import Trial
    from tinsmith.compress.search.trying import Crew
    from tinsmith.compress.training.tracking.trials import TrialTracker

__all__ = ["Hands", "Hiring", "Settings", "known_first", "search"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a search goes about it.

    Attributes:
        limits: When it ends.
        targets: Formats that the artifact may have; empty for the source's own, and TFLite for what is none.
        threads: CPU threads that artifacts are timed on, the usual first; empty for what the first device's profile
            says.
        training: Whether weights may be trained.
        sampler: Of Optuna.
        population: Trials of a generation.
        resume: Go on with what the folder holds.
        command: How it was called, for the record.
        trackers: Keep each trial as a run.
    """

    limits: Limits = field(default_factory=Limits)
    targets: tuple[Target, ...] = ()
    threads: tuple[int, ...] = ()
    training: bool = True
    sampler: Sampler = "tpe"
    population: int = 8
    resume: bool = False
    command: str = ""
    trackers: Trackers = field(default_factory=Trackers)


class Hiring(Protocol):
    """Opens what carries recipes out."""

    def __call__(self, subject: Subject, folder: Folder) -> AbstractContextManager[Crew]:
        """For one search; it is closed when the search is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Who does the work of a search.

    Attributes:
        stopwatch: Measures artifacts on devices.
        hiring: Opens what carries recipes out.
    """

    stopwatch: Stopwatch
    hiring: Hiring


def search(
    subject: Subject,
    ask: Ask,
    output: Path,
    hands: Hands,
    *,
    settings: Settings | None = None,
    watch: Watch | None = None,
) -> Record:
    """Look for the recipes whose artifacts keep the bounds, and make the best of them.

    Args:
        subject: Model, samples, and what judges.
        ask: The bounds; ``ask.budget`` is the subject's.
        output: A folder; ``run.json``, ``search.sqlite``, ``artifacts/``, ``chosen.*`` and ``recipe.yaml`` stay there.
        hands: What measures on the devices of ``ask.devices``, and what carries recipes out.
        settings: How it goes about it.
        watch: Told of each trial.

    Returns:
        Everything that was found; where nothing keeps the bounds, ``chosen`` is None.

    Raises:
        BusyError: Another search is at the folder.
        TinsmithError: As the exit codes say. What was found until then stays in the folder, for ``resume``.
    """
    settings = settings or Settings()
    refuse_emulated(ask, hands.stopwatch.facts)
    folder = Folder(path=output)
    identify(subject.model)
    trackers = open_trial_trackers(settings.trackers)
    with folder.taken(resume=settings.resume), hands.hiring(subject, folder) as crew:
        return _Course(subject, ask, folder, hands.stopwatch, settings, crew).run(watch, trackers)


def known_first(subject: Subject, ask: Ask, stopwatch: Stopwatch, settings: Settings) -> tuple[Choices, ...]:
    """The known recipes that would be tried first, without opening anything; raises as ``identify``.

    The random sampler begins by itself.
    """
    trainable = settings.training and subject.data is not None
    scope = _scope(subject, ask, stopwatch, settings, calibrated=subject.data is not None, trainable=trainable)
    return () if settings.sampler == "random" else Space(scope, _NoOperators()).known()


class _NoOperators:
    """Nobody has measured any; what is not carried out needs none."""

    @staticmethod
    def narrowing(recipe: Recipe, target: Target) -> Sequence[tuple[str, int]]:  # noqa: ARG004 - as ``Sensitivities``
        return ()

    @staticmethod
    def worst(recipe: Recipe, target: Target) -> Sequence[str]:  # noqa: ARG004 - as above
        return ()


class _Course:
    """One search, from its beginning to its record."""

    def __init__(
        self,
        subject: Subject,
        ask: Ask,
        folder: Folder,
        stopwatch: Stopwatch,
        settings: Settings,
        crew: Crew,
    ) -> None:
        self._subject, self._ask, self._folder, self._stopwatch = subject, ask, folder, stopwatch
        self._settings, self._crew = settings, crew
        self._source = identify(subject.model)
        self._sha256 = sha256_of(*files_of(self._source))
        self._source_bytes, self._environment = sum(bytes_of(file) for file in files_of(self._source)), _environment()
        self._baseline = crew.baseline
        self._began, self._started_s = datetime.now(timezone.utc).isoformat(timespec="seconds"), time.monotonic()
        self._before_s = 0.0

    def run(self, watch: Watch | None, trackers: Sequence[TrialTracker]) -> Record:
        with Store(self._folder.store, self._run) as store, self._tracking(trackers, store) as tracking:
            self._before_s, self._began = store.noted("spent") or (0.0, self._began)
            self._record((), None).write(self._folder.path)
            space = Space(self._scope, MeasuredSensitivities(self._crew, store))
            means = Means(spread=self._crew, measure=TimedBy(self._stopwatch), store=store)
            watches = [tracking, *((watch,) if watch else ())]
            told = _Told(self, store, watches)
            found = Search(self._ask, space, self._proposer(space), means, self._settings.limits, watch=told).run()
            self._record(found.trials, found).write(self._folder.path)
            artifacts: dict[int, dict[str, Any]] = {}
            if found.lost is None:
                delivering = Delivering(self._subject, self._folder, store)
                found = self._delivered(found, delivering, artifacts, watches)
            tracking.ended(found)
        if found.lost is not None:
            hint = "; then ".join(filter(None, (found.lost.hint, "go on with --resume")))
            raise type(found.lost).revive(found.lost.message, hint)
        kept = {trial.number: artifacts[trial.number] for trial in _wanted(found)}
        done = replace(self._record(found.trials, found), finished=True, artifacts=kept)
        done.write(self._folder.path)
        return done

    @property
    def _run(self) -> str:
        """Names everything that outcomes depend on."""
        subject, known = self._subject, self._baseline
        said: list[Any] = [self._sha256, known.data_sha256, subject.seed, known.metric, subject.device]
        said += [tool_versions()]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _tracking(self, trackers: Sequence[TrialTracker], store: Store) -> SearchTracking:
        """What goes on after a kill goes on in the same runs."""
        name = store.noted("tracked") or secrets.token_hex(4)
        store.note("tracked", name)
        return SearchTracking(trackers, search_run(self._record((), None), name))

    @property
    def _scope(self) -> Scope:
        settings, known = self._settings, self._baseline
        trainable = settings.training and known.trainable
        return _scope(
            self._subject, self._ask, self._stopwatch, settings, calibrated=bool(known.data_sha256), trainable=trainable
        )

    def _proposer(self, space: Space) -> Proposer:
        return Proposer(
            space,
            objectives=2 + len(self._ask.devices),
            bounds=[bound.name for bound in self._ask.bounds],
            sampler=self._settings.sampler,
            population=self._settings.population,
            seed=self._subject.seed,
        )

    def seconds(self) -> float:
        """All goes of a resumed search together."""
        return self._before_s + time.monotonic() - self._started_s

    def tried(self, trials: Sequence[Trial], store: Store) -> None:
        """Leave a record of what there is so far."""
        store.note("spent", [self.seconds(), self._began])
        self._record(trials, None).write(self._folder.path)

    def _record(self, trials: Sequence[Trial], found: Found | None) -> Record:
        subject, known = self._subject, self._baseline
        settings = {
            **{name: getattr(self._settings, name) for name in ("training", "sampler", "population")},
            **asdict(self._settings.limits),
            "seed": subject.seed,
            "device": subject.device,
        }
        data = {
            "reference": subject.data,
            "name": known.judged_on,
            "sha256": known.data_sha256,
            "judged": known.samples,
        }
        return Record(
            finished=False,
            command=self._settings.command,
            source={
                "path": str(subject.model),
                "format": self._source.format,
                "sha256": self._sha256,
                "bytes": self._source_bytes,
            },
            data=data if known.data_sha256 else None,
            metric=known.metric,
            score=known.score,
            ask=tuple(self._ask.to_json()),
            devices=tuple(self._stopwatch.facts),
            settings=settings,
            environment=self._environment,
            began=self._began,
            seconds=self.seconds(),
            ended="" if found is None else found.ended,
            trials=tuple(trials),
            front=() if found is None else tuple(trial.number for trial in found.front),
            chosen=None if found is None or found.chosen is None else found.chosen.number,
            nearest=None if found is None or found.nearest is None else found.nearest.number,
            loosenings=() if found is None else found.loosenings,
            artifacts={},
        )

    def _delivered(
        self, found: Found, delivering: Delivering, artifacts: dict[int, dict[str, Any]], watches: Sequence[Watch]
    ) -> Found:
        """Make the artifacts of the Pareto set whole, each proven; the nearest one where there is none.

        What does not stand the proof is no find: without it there may be others in the Pareto set.
        """
        while missing := [trial for trial in _wanted(found) if trial.number not in artifacts]:
            trial = missing[0]
            try:
                artifacts[trial.number] = delivering.deliver(trial)
            except (ModelError, VerificationError, StepDefectError) as error:
                found = found.without(trial, f"made whole, it does not stand the proof: {error.message}", self._ask)
                for watch in watches:
                    watch.tried(found.trials[trial.number - 1])
        best = found.chosen or found.nearest
        if best is not None:
            delivering.name(best)
        self._folder.forget_others(_wanted(found), best)
        return found


def _wanted(found: Found) -> tuple[Trial, ...]:
    return found.front or ((found.nearest,) if found.nearest else ())


def _scope(subject: Subject, ask: Ask, stopwatch: Stopwatch, settings: Settings, **samples: bool) -> Scope:
    source = identify(subject.model)
    own: tuple[Target, ...] = ("onnx",) if source.format == "onnx" else ("tflite",)
    return Scope(
        targets=settings.targets or own,
        threads=settings.threads or (int(stopwatch.facts[0]["threads"]),),
        layered=source.format in ("keras", "hdf5"),
        answers_stay=ask.budget.min_agreement is not None,
        downloads=any(bound.kind == "zip" for bound in ask.files),
        floats=not (source.is_artifact and computes_in_integers(source.path)),
        **samples,
    )


class _Told:
    """Tells the record of each trial before it tells whoever watches."""

    def __init__(self, course: _Course, store: Store, watches: Sequence[Watch]) -> None:
        self._course, self._store, self._watches = course, store, watches
        self._trials: list[Trial] = []

    def tried(self, trial: Trial) -> None:
        """One more is done, or one of those that were is measured after all."""
        self._trials[trial.number - 1 : trial.number] = [trial]
        self._course.tried(self._trials, self._store)
        for watch in self._watches:
            watch.tried(trial)


def _environment() -> dict[str, str]:
    machine = {"system": platform.platform(), "machine": platform.machine(), "cores": str(os.cpu_count()),
               "python": platform.python_version()}  # fmt: skip
    return {**machine, **tool_versions()}
