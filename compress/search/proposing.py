"""Which recipe is tried next: the known ones, then what Optuna makes of what came of those before.

Proposals come in generations, and all of a generation are made before any is told: so it does not matter how many
workers carry them out, nor in which order they are done. The study lives in memory. A search that goes on builds it
again by telling it the same things in the same order.
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.convert.frameworks import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinsmith.compress.search.space import Choices, Space, Value
    from tinsmith.compress.search.trial import Origin

__all__ = ["SAMPLERS", "Proposal", "Proposer", "Sampler"]

Sampler = Literal["tpe", "nsga2", "random"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "nsga2", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One recipe to try.

    Attributes:
        number: Of the proposal, from 0; ``tell`` takes it.
        origin: Where it came from.
        choices: What makes the recipe.
    """

    number: int
    origin: Origin
    choices: Choices


class Proposer:
    """Proposes and learns.

    Args:
        space: What there is to choose from.
        objectives: How many numbers a trial is judged by; all of them are made small.
        bounds: Names of what must not be missed.
        sampler: ``tpe`` (Watanabe 2023) or ``nsga2`` (Deb 2002), both with constraints; ``random`` learns nothing.
        population: Trials of a generation.
        seed: Of all chance.

    Raises:
        MissingDependencyError: Optuna is not installed.
    """

    def __init__(
        self, space: Space, *, objectives: int, bounds: Sequence[str], sampler: Sampler, population: int, seed: int
    ) -> None:
        self._optuna = optuna = require("optuna", needed_for="search")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._bounds, self._population = space, tuple(bounds), population
        self._known = list(space.known()) if sampler != "random" else []
        with _quiet():
            chooser = _sampler(optuna, sampler, population, seed)
            self._study = optuna.create_study(directions=["minimize"] * objectives, sampler=chooser)
        self._asked: dict[int, Any] = {}

    def generation(self) -> tuple[Proposal, ...]:
        """The next ones: first the known ones, all that are equally dear at once, then as many as a generation has."""
        if self._known:
            dearness = self._known[0].dearness
            known = [choices for choices in self._known if choices.dearness == dearness]
            self._known = self._known[len(known) :]
            return tuple(self._propose("known", choices) for choices in known)
        return tuple(self._propose("sampled", None) for _ in range(self._population))

    def tell(self, proposal: Proposal, values: Sequence[float] | None, lacking: Mapping[str, float]) -> None:
        """Say what came of a proposal.

        Args:
            proposal: Which.
            values: What it is judged by; None where it could not be carried out.
            lacking: How far it lies beyond each bound; 0 or below where it is kept.
        """
        trial = self._asked.pop(proposal.number)
        with _quiet():
            if values is None:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                return
            for name in self._bounds:
                trial.set_constraint(name, lacking[name])
            self._study.tell(trial, list(values))

    def _propose(self, origin: Origin, known: Choices | None) -> Proposal:
        with _quiet():
            if known is not None:
                self._study.enqueue_trial(self._space.parameters_of(known))
            trial = self._study.ask()

            def choose(name: str, options: Sequence[Value]) -> Value:
                return trial.suggest_categorical(name, options)  # type: ignore[no-any-return]

            choices = self._space.draw(choose)
        self._asked[trial.number] = trial
        return Proposal(number=trial.number, origin=origin, choices=choices)


def _sampler(optuna: Any, name: Sampler, population: int, seed: int) -> Any:
    samplers = optuna.samplers
    if name == "nsga2":
        return samplers.NSGAIISampler(population_size=population, seed=seed)
    if name == "random":
        return samplers.RandomSampler(seed=seed)
    # proposals of one generation are kept apart by counting those that are open as bad
    return samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says of several of these options that they are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
