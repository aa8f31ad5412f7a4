"""``tinsmith report``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

__all__ = ["report"]


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("-o", "--output", "outputs", multiple=True, type=click.Path(path_type=Path),
              help="Write a page (.html), Markdown (.md), the trials (.csv) or the record (.json).")  # fmt: skip
@options.format_option
def report(run: Path, outputs: tuple[Path, ...], output_format: str) -> None:
    """Show what a search found, finished or not.

    RUN is the folder that `tinsmith search --output` has written. The page needs nothing else, neither a network nor a
    program but a browser: bytes, answers and time of every trial, what was chosen and how it stands to each bound,
    accuracy by class and slice, layers, operators, and the commands that do it again.
    """
    from tinsmith.compress.commands.search_view import search_view
    from tinsmith.compress.search.record import read_record, understood
    from tinsmith.compress.search.report.output import FORMS, write_report
    from tinsmith.compress.search.report.standing import so_far
    from tinsmith.runtime.files import check_outputs

    check_outputs(outputs, FORMS)
    record = read_record(run)
    with understood(run):
        for output in outputs:
            write_report(output, record, run)
        written = [f"written: {output}" for output in outputs]
        state = [] if record.finished else ["not finished; figures so far:"]
        view = [*state, *search_view(so_far(record), run), *written]
        print_result(output_format, {"search": record.to_json()}, view)
