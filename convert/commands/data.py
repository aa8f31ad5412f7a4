"""``tinsmith data``: check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from click.exceptions import Exit

from tinsmith.convert.commands.hygiene_view import hygiene_facts
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import facts, print_result, table
from tinsmith.runtime.errors import BudgetMissedError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tinsmith.convert.data.overview import Overview
    from tinsmith.convert.data.ranges import InputFacts

__all__ = ["data"]

_MOST_CLASSES = 30


@click.group()
def data() -> None:
    """Show what a dataset holds, and what is wrong with it."""


@data.command()
@click.argument("reference", metavar="DATA")
@click.option("--model", type=click.Path(path_type=Path), help="What the samples must fit.")
@click.option("--against", help="The evaluation set: DATA is to calibrate on, and must keep away from it.")
@options.time_limit_option
@options.seed_option
@options.format_option
def check(
    reference: str, model: Path | None, against: str | None, time_limit_s: float, seed: int, output_format: str
) -> None:
    """Read a whole dataset: its classes, splits and values, what can't be used, and what is odd.

    DATA is what --data takes everywhere: an .npz, .csv or .jsonl file, a folder of class folders, tfds:NAME,
    package.module:function, or a data.yaml.

    With --against, it is also checked whether DATA is fit to calibrate on: overlap with the evaluation set, classes,
    values, and how many samples there are. An error there is exit 1.
    """
    from tinsmith.convert.data.overview import check_dataset

    overview = check_dataset(reference, model=model, against=against, seed=seed, time_limit_s=time_limit_s)
    print_result(output_format, {"data": overview.to_json()}, _view(overview))
    if overview.hygiene is not None and overview.hygiene.has_errors:
        raise Exit(BudgetMissedError.exit_code)


def _view(overview: Overview) -> list[RenderableType | str]:
    report = overview.cleaning
    view: list[RenderableType | str] = [facts(_facts(overview))]
    if overview.classes:
        view.append(_classes(overview))
    if report.dropped:
        rows = [[d.reason, d.samples, "\n".join(d.examples)] for d in report.dropped]
        view.append(table(["left out", "samples", "such as"], rows))
    else:
        view.append("every sample is usable")
    view += [f"warning: {warning}" for warning in report.warnings]
    if overview.hygiene is not None:
        view += [f"\nTo calibrate on, evaluated on {overview.hygiene.against}:", facts(hygiene_facts(overview.hygiene))]
    return view


def _facts(overview: Overview) -> list[tuple[str, object]]:
    from tinsmith.convert.data.metadata import SPLITS

    report = overview.cleaning
    counted = ", ".join(f"{name} {n:,}" for name, n in zip(SPLITS, overview.splits, strict=True) if n)
    steps = " → ".join(step["kind"] for step in overview.preprocessing)
    rows: list[tuple[str, object]] = [
        ("data", overview.name),
        ("samples", f"{report.samples:,}, usable {report.kept:,}"),
        *((f"input {found.name}", _described(found)) for found in report.inputs),
        ("done to each", steps or "nothing"),
        ("splits", f"{counted} (by the {overview.split_by})"),
    ]
    if overview.targets:
        rows.append(("targets", f"{overview.targets} numbers a sample"))
    if not overview.classes:
        rows.append(("labels", "no class numbers"))
    return rows


def _described(found: InputFacts) -> str:
    shapes = " or ".join(f"[{', '.join(map(str, shape))}]" for shape in found.shapes)
    values = "" if found.low is None else f", {found.low:g} to {found.high:g}"
    return f"{' or '.join(found.dtypes)} {shapes}{values}"


def _classes(overview: Overview) -> RenderableType:
    from tinsmith.convert.data.metadata import SPLITS

    shown = [at for at, name in enumerate(SPLITS) if overview.splits[at]]
    rows: list[list[object]] = [
        [c.name, c.samples, *(c.splits[at] for at in shown)] for c in overview.classes[:_MOST_CLASSES]
    ]
    rest = overview.classes[_MOST_CLASSES:]
    if rest:
        sums = [sum(c.splits[at] for c in rest) for at in shown]
        rows.append([f"and {len(rest)} more", sum(c.samples for c in rest), *sums])
    return table(["class", "samples", *(SPLITS[at] for at in shown)], rows)
