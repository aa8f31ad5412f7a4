"""The command lines that do it again, and what comes next."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.compress.search.bounds import HERE
from tinsmith.compress.search.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.trial import Trial

__all__ = ["Line", "lines_of", "resuming"]

# Options of the search that mean the same to `compress`, and that the record holds in no other form.
_CARRIED = ("--metric", "--force", "--time-limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One command line.

    Attributes:
        does: What it does.
        typed: What is typed.
    """

    does: str
    typed: str


def lines_of(record: Record, run: Path, trial: Trial | None) -> tuple[Line, ...]:
    """What was typed, and what to type to make the artifact again and to bring it to its device.

    Args:
        record: Of the search.
        run: Its folder.
        trial: Whose artifact is wanted; None for none.
    """
    search = [Line(does="the search", typed=record.command)] if record.command else []
    if trial is None or trial.number not in record.artifacts:
        return tuple(search)
    return (*search, *_of_artifact(record, Folder(path=run), trial))


def resuming(record: Record) -> str:
    """What goes on with a search."""
    command = record.command or "tinsmith search MODEL -o RUN"
    return command if "--resume" in _words(command) else f"{command} --resume"


def _of_artifact(record: Record, folder: Folder, trial: Trial) -> Iterator[Line]:
    chosen = trial == record.best
    recipe = folder.chosen_recipe if chosen else folder.recipe(trial.number)
    artifact = folder.chosen(trial.target) if chosen else folder.artifact(trial.number, trial.target)
    again = ["compress", record.source["path"], "--recipe", recipe, *_samples(record), *_settings(record)]
    yield Line(does="the artifact again", typed=_line(*again, "-o", f"again.{trial.target}"))
    for device in [device["name"] for device in record.devices if not device.get("emulated")] or [HERE]:
        bundle = folder.path / f"{device}.tin"
        about = [] if device == HERE else ["-d", device]
        yield Line(
            does=f"a bundle for {device}", typed=_line("bundle", artifact, *_samples(record), *about, "-o", bundle)
        )
        if device == HERE:
            yield Line(does="serve it here", typed=_line("serve", bundle))
        else:
            yield Line(does=f"put it on {device}", typed=_line("flash", bundle, "-d", device))


def _samples(record: Record) -> list[Any]:
    reference = (record.data or {}).get("reference")
    return ["--data", reference] if reference else []


def _settings(record: Record) -> Iterator[Any]:
    for name, option in (("seed", "--seed"), ("device", "-d")):
        if record.settings.get(name):
            yield from (option, record.settings[name])
    words = _words(record.command)
    for word, value in itertools.pairwise(words):
        if word in _CARRIED:
            yield from (word, value)
    yield from (word for word in words if word.partition("=")[0] in _CARRIED and "=" in word)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # nobody has quoted it
        return command.split()


def _line(*words: Any) -> str:
    return shlex.join(["tinsmith", *map(str, words)])
