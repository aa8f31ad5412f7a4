"""How a search is shown: what was asked and reached, and the Pareto set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinsmith.compress.search.figures import changed
from tinsmith.compress.search.folder import Folder
from tinsmith.compress.search.report.wording import answers
from tinsmith.runtime.commands.output import facts, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from tinsmith.compress.search.figures import Figures, Timed
    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.space import Choices
    from tinsmith.compress.search.trial import Trial

__all__ = ["line_of", "plan_view", "search_view"]


def line_of(trial: Trial) -> str:
    """One trial in one line, for stderr."""
    said = f"trial {trial.number}: {trial.name} ({trial.target})"
    if trial.figures is None:
        return f"{said}: {trial.remark}"
    times = "".join(f", {timed.median_ms:.3g} ms on {timed.device}" for timed in trial.figures.timed)
    became = "keeps every bound" if trial.kept else "; ".join(filter(None, (_missed(trial), trial.remark)))
    return f"{said}: {trial.figures.file_bytes:,} bytes, {_loss(trial.figures)}{times}; {became}"


def search_view(record: Record, output: Path) -> list[RenderableType]:
    """What was found, for a terminal."""
    best = record.best
    shown = [
        ("source", f"{record.source['path']} ({record.source['format']}, {record.source['bytes']:,} bytes)"),
        ("judged by", "" if record.score is None else f"{record.metric} {record.score:.4g} of the source"),
        ("tried", f"{len(record.trials)} recipes in {record.seconds / 60:.1f} min; {record.ended}"),
        *(() if best is None else _best(record, best, output)),
        *(("or loosen", one.said) for one in record.loosenings),
        ("next", f"tinsmith report {output} -o report.html"),
    ]
    return [facts([(name, said) for name, said in shown if said]), *_front(record)]


def plan_view(known: Sequence[Choices]) -> tuple[dict[str, Any], list[RenderableType]]:
    """What would be tried first, as a document and for a terminal."""
    rows = [[number, choices.target, choices.name] for number, choices in enumerate(known, start=1)]
    document = {"plan": [{"target": choices.target, "name": choices.name} for choices in known]}
    if not rows:
        return document, ["The random sampler tries no known recipes first."]
    return document, [table(["trial", "target", "recipe"], rows), "Then what the sampler makes of what came of these."]


def _best(record: Record, trial: Trial, output: Path) -> list[tuple[str, object]]:
    folder, named = Folder(path=output), f"trial {trial.number}: {trial.name}"
    said = f"{folder.chosen(trial.target)}, by {folder.chosen_recipe} ({named})"
    standings = [("kept" if one.kept else "MISSED", f"--{one.bound}: {one.said}") for one in trial.standings]
    found = said if record.finished else f"{named}; not made yet, go on with --resume"
    return [("nearest" if record.chosen is None else "chosen", found), *standings, *answers(record, trial)]


def _front(record: Record) -> list[RenderableType]:
    if not record.front:
        return []
    devices = [device["name"] for device in record.devices]
    columns = ["", "trial", "recipe", "format", "bytes", "zip", "answers", *(f"ms on {name}" for name in devices)]
    rows = [_row(record.trial(number), record, devices) for number in record.front]
    return [table(columns, rows, title="What nothing else beats in everything")]


def _row(trial: Trial, record: Record, devices: Sequence[str]) -> list[object]:
    assert trial.figures is not None
    figures = trial.figures
    times = [_time(figures.on(device)) for device in devices]
    mark = "chosen" if trial.number == record.chosen else ""
    return [mark, trial.number, trial.name, trial.target, figures.file_bytes, figures.zip_bytes, _loss(figures), *times]


def _time(timed: Timed | None) -> str:
    if timed is None:
        return "-"
    if timed.low_ms is None or timed.high_ms is None:
        return f"{timed.median_ms:.3g}"
    return f"{timed.median_ms:.3g} [{timed.low_ms:.3g} to {timed.high_ms:.3g}]"


def _loss(figures: Figures) -> str:
    if figures.drop is not None:
        return changed(figures.drop)
    if figures.agreement is not None:
        return f"{figures.agreement:.2%} agree"
    return "-" if figures.distance is None else f"{math.sqrt(figures.distance):.3g} apart"


def _missed(trial: Trial) -> str:
    """Which bounds it misses; empty where its figures are not those of the whole recipe."""
    missed = [one for one in trial.standings if not one.kept] if trial.whole else []
    known = [one for one in missed if one.reached is not None] or missed
    return "misses " + ", ".join(f"--{one.bound}: {one.said}" for one in known) if known else ""
