"""One recipe that was tried, with what came of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.compress.search.bounds import Standing, lacking_of
from tinsmith.compress.search.figures import Figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

__all__ = ["Origin", "State", "Trial"]

# Known to be good for many models; put together by the sampler.
Origin = Literal["known", "sampled"]
# Carried out and measured; carried out, and so far beyond a bound that no device had to time it; trained for one epoch,
# and not worth more than others; could not be carried out.
State = Literal["done", "hopeless", "outdone", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One recipe that was tried.

    Attributes:
        number: From 1, in the order they were proposed.
        origin: Where the proposal came from.
        target: The format of its artifact.
        recipe: In full, as a recipe file holds it.
        name: What it does, in a few words.
        threads: CPU threads that it was timed on.
        state: What became of it.
        figures: Of its artifact; None where it could not be carried out.
        standings: How the artifact stands to each bound; empty as above.
        sha256: Of the artifact; empty as above.
        seconds: That it took.
        remark: Why it was given up, or could not be carried out.
    """

    number: int
    origin: Origin
    target: Literal["tflite", "onnx"]
    recipe: Mapping[str, Any]
    name: str
    threads: int
    state: State
    figures: Figures | None
    standings: tuple[Standing, ...] = ()
    sha256: str = ""
    seconds: float = 0.0
    remark: str = ""

    @property
    def whole(self) -> bool:
        """Whether its figures are those of an artifact that could be shipped; its time may be unknown."""
        return self.state in ("done", "hopeless") and self.figures is not None

    @property
    def kept(self) -> bool:
        """Whether every bound is kept."""
        return self.whole and all(standing.kept for standing in self.standings)

    @property
    def lacking(self) -> float:
        """How far the bounds are missed, all together; infinite where nobody knows, or it could not be carried out."""
        return lacking_of(self.standings) if self.whole else math.inf

    @property
    def known_lacking(self) -> float:
        """The same of the bounds that it is known to miss: it may turn out to miss them by more, and never by less."""
        known = [standing for standing in self.standings if math.isfinite(standing.lacking)]
        return lacking_of(known) if self.whole else math.inf

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        lacking = self.lacking if math.isfinite(self.lacking) else None
        figures = None if self.figures is None else self.figures.to_json()
        standings = [standing.to_json() for standing in self.standings]
        plain = {name: value for name, value in asdict(self).items() if name not in ("figures", "standings")}
        return {**plain, "figures": figures, "standings": standings, "kept": self.kept, "lacking": lacking}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        figures = None if said["figures"] is None else Figures.from_json(said["figures"])
        standings = tuple(_standing(one) for one in said["standings"])
        derived = ("figures", "standings", "kept", "lacking")
        plain = {name: value for name, value in said.items() if name not in derived}
        return cls(**plain, figures=figures, standings=standings)


def _standing(said: Mapping[str, Any]) -> Standing:
    lacking = math.inf if said["lacking"] is None else said["lacking"]
    return Standing(**{**{name: said[name] for name in ("bound", "allowed", "reached", "said")}, "lacking": lacking})
