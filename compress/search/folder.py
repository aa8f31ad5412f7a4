"""The folder of a search: where everything lies, and whose it is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.compress.search.record import RECORD_NAME
from tinsmith.runtime.errors import OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.compress.planner import Target

__all__ = ["Folder"]


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
        """What trials share; it may be removed once the search is done."""
        return self.path / "work"

    def artifact(self, number: int, target: Target) -> Path:
        """Where an artifact of the Pareto set is put."""
        return self.path / "artifacts" / f"{number:03d}.{target}"

    def recipe(self, number: int) -> Path:
        """The recipe that makes it again."""
        return self.path / "artifacts" / f"{number:03d}.yaml"

    def chosen(self, target: Target) -> Path:
        """The one that was chosen, under a name of its own."""
        return self.path / f"chosen.{target}"

    @property
    def chosen_recipe(self) -> Path:
        """The recipe that makes the chosen one again."""
        return self.path / "recipe.yaml"

    def begin(self, *, resume: bool) -> None:
        """Make the folder; nothing that a search has found is ever thrown away by beginning another.

        Raises:
            UsageError: It holds a search already, or something else.
            OutputError: It can't be made.
        """
        if self.path.is_dir() and any(self.path.iterdir()) and not resume:
            what = "a search" if (self.path / RECORD_NAME).exists() or self.store.exists() else "something else"
            raise UsageError(
                f"{self.path} holds {what} already",
                hint="go on with --resume, or name another --output" if what == "a search" else "name another --output",
            )
        try:
            for folder in (self.path, self.work, self.path / "artifacts"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(self.path, error) from error

    def forget_work(self) -> None:
        """Remove what only an unfinished search needs."""
        shutil.rmtree(self.work, ignore_errors=True)
