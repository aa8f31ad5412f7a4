"""The folder of a search: where everything lies, and whose it is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from tinsmith.compress.planner import Target
from tinsmith.compress.search.record import RECORD_NAME
from tinsmith.runtime.artifact import manifest_path
from tinsmith.runtime.errors import OutputError, UsageError
from tinsmith.runtime.locking import LOCK_NAME, alone_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tinsmith.compress.search.trial import Trial

__all__ = ["Folder"]

_WORK, _ARTIFACTS = "work", "artifacts"
# What a search that could not even open its model leaves.
_EMPTY = frozenset({LOCK_NAME, _WORK, _ARTIFACTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One search's.

    Attributes:
        path: Of all below.
    """

    path: Path

    @property
    def store(self) -> Path:
        """What was found so far, in SQLite."""
        return self.path / "search.sqlite"

    @property
    def work(self) -> Path:
        """What trials share."""
        return self.path / _WORK

    def artifact(self, number: int, target: Target) -> Path:
        """Where an artifact of the Pareto set is put."""
        return self.path / _ARTIFACTS / f"{number:03d}.{target}"

    def recipe(self, number: int) -> Path:
        """The recipe that makes it again."""
        return self.path / _ARTIFACTS / f"{number:03d}.yaml"

    def chosen(self, target: Target) -> Path:
        """The one that was chosen, under a name of its own."""
        return self.path / f"chosen.{target}"

    @property
    def chosen_recipe(self) -> Path:
        """The recipe that makes the chosen one again."""
        return self.path / "recipe.yaml"

    @contextlib.contextmanager
    def taken(self, *, resume: bool) -> Iterator[None]:
        """Make the folder, and have it alone; nothing that a search has found is thrown away by beginning another.

        Raises:
            UsageError: It holds a search already, or something else.
            BusyError: Another search is at it.
            OutputError: It can't be made.
        """
        try:
            self._refuse_held(resume=resume)
            for folder in (self.path, self.work, self.path / _ARTIFACTS):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(self.path, error) from error
        with alone_in(self.path, busy=f"another search is at {self.path}"):
            yield

    def forget_others(self, trials: Collection[Trial], best: Trial | None) -> None:
        """Remove artifacts of an earlier go, whose numbers mean other trials by now."""
        kept = {self.recipe(one.number).name for one in trials}
        kept |= {path.name for one in trials for path in _with_manifest(self.artifact(one.number, one.target))}
        for path in (self.path / _ARTIFACTS).glob("[0-9][0-9][0-9]*.*"):
            if path.name not in kept:
                path.unlink()
        others = [] if best is None else [target for target in get_args(Target) if target != best.target]
        for target in others:
            for path in _with_manifest(self.chosen(target)):
                path.unlink(missing_ok=True)

    def _refuse_held(self, *, resume: bool) -> None:
        held = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        if not held or (LOCK_NAME in held and held <= _EMPTY):
            return
        if RECORD_NAME not in held and self.store.name not in held:
            raise UsageError(f"{self.path} holds something else already", hint="name another --output")
        if not resume:
            raise UsageError(
                f"{self.path} holds a search already", hint="go on with --resume, or name another --output"
            )


def _with_manifest(artifact: Path) -> tuple[Path, Path]:
    return artifact, manifest_path(artifact)
