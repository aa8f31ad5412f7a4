"""What a search leaves in its folder for others to read: ``run.json``."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.compress.search.front import Loosening
from tinsmith.compress.search.trial import Trial
from tinsmith.runtime.errors import DataError, first_line
from tinsmith.runtime.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from typing_extensions import Self

__all__ = ["RECORD_NAME", "Record", "read_record", "understood"]

RECORD_NAME = "run.json"
RECORD_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One search, finished or not.

    Attributes:
        finished: Whether it has ended; while it goes on, everything else is what there is so far.
        command: The command line that began it.
        source: Path, format, sha256 and bytes of the model.
        data: Name, sha256, samples, and what they were used for; None where there were none.
        metric: What judged; empty where nothing did.
        score: The source's, of the metric; None as above.
        ask: The bounds: name, allowed, said.
        devices: Those that were measured on: name, profile, threads, whether emulated.
        settings: Seed, sampler, limits, training or not.
        environment: Versions of tools, the machine.
        began: When, ISO 8601.
        seconds: That it took so far, all goes of a resumed search together.
        ended: Why it went no further; empty while it goes on.
        trials: All of them.
        front: Numbers of the Pareto set, by bytes.
        chosen: Number of the one chosen; None where nothing keeps the bounds.
        nearest: Number of what misses them by least.
        loosenings: Bounds that would have to give.
        artifacts: Of the Pareto set, by number: ``path`` and ``recipe`` below the folder, and as ``report`` what
            ``compress`` said when it was made whole and proven: sizes, accuracy by class and slice, layers, operators.
    """

    finished: bool
    command: str
    source: Mapping[str, Any]
    data: Mapping[str, Any] | None
    metric: str
    score: float | None
    ask: tuple[Mapping[str, Any], ...]
    devices: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    environment: Mapping[str, str]
    began: str
    seconds: float
    ended: str
    trials: tuple[Trial, ...]
    front: tuple[int, ...]
    chosen: int | None
    nearest: int | None
    loosenings: tuple[Loosening, ...]
    artifacts: Mapping[int, Mapping[str, Any]]

    def trial(self, number: int) -> Trial:
        """By its number; raises ``LookupError`` where there is none."""
        found = self.trials[number - 1]
        if found.number != number:
            raise LookupError(f"there is no trial {number}")
        return found

    @property
    def best(self) -> Trial | None:
        """The chosen one, or where nothing keeps the bounds the nearest; None where there is neither."""
        number = self.nearest if self.chosen is None else self.chosen
        return None if number is None else self.trial(number)

    def to_json(self) -> dict[str, Any]:
        """For the file, and for machines."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {
            "schema": RECORD_SCHEMA,
            **plain,
            "trials": [trial.to_json() for trial in self.trials],
            "loosenings": [one.to_json() for one in self.loosenings],
            "artifacts": {str(number): dict(said) for number, said in self.artifacts.items()},
        }

    def write(self, folder: Path) -> None:
        """Replace the record of the folder."""
        write_text(folder / RECORD_NAME, json.dumps(self.to_json(), indent=2) + "\n")

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave."""
        plain = {name: said[name] for name in cls.__slots__}
        read = {
            "trials": tuple(Trial.from_json(trial) for trial in said["trials"]),
            "loosenings": tuple(Loosening(**one) for one in said["loosenings"]),
            "artifacts": {int(number): one for number, one in said["artifacts"].items()},
            **{name: tuple(said[name]) for name in ("ask", "devices", "front")},
        }
        return cls(**{**plain, **read})


def read_record(folder: Path) -> Record:
    """Read what a search left.

    Raises:
        DataError: There is none, or it is damaged, or of a newer tinsmith.
    """
    path = folder / RECORD_NAME
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "name the folder that `tinsmith search --output` has written"
        raise DataError(f"{folder} holds no search: {first_line(error)}", hint=hint) from error
    with understood(folder):
        said = json.loads(content)
        if said["schema"] > RECORD_SCHEMA:
            raise DataError(f"{path} is of schema {said['schema']}, newer than this tinsmith knows", hint="update it")
        return Record.from_json(said)


@contextlib.contextmanager
def understood(folder: Path) -> Iterator[None]:
    """Whoever reads or shows a record does it in here: somebody may have changed it by hand.

    Raises:
        DataError: Something in the record is not what it must be.
    """
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder / RECORD_NAME} is damaged: {type(error).__name__}: {first_line(error)}",
            hint="the same search with --resume writes it anew from what it has kept",
        ) from error
