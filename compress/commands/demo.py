"""``tinsmith demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.compress.commands.variants_view import variants_table
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

if TYPE_CHECKING:
    from tinsmith.compress.demo import DemoReport

__all__ = ["demo"]


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="The folder where models, artifacts and reports stay.",
)
@options.seed_option
@options.format_option
@click.pass_obj
def demo(wiring: Any, output: Path, seed: int, output_format: str) -> None:
    """Train, compress, prove and measure a small model, end to end."""
    from tinsmith.compress.demo import run_demo

    report = run_demo(output, wiring.measure, seed=seed)
    view = [variants_table(report.rows, best=report.best), _notes(report, output)]
    print_result(output_format, {"demo": report.to_json(), "output": str(output)}, view)


def _notes(report: DemoReport, output: Path) -> str:
    lines = [
        f"Accuracy on {report.test_samples} digits that no variant has seen; agreement with the trained float model.",
        "Best: the smallest that lost no more than half a point.",
        *(f"Only for .{target}: {', '.join(names)}." for target, names in report.only.items()),
        f"Everything lies in {output}; look inside with: tinsmith inspect {output / report.best}",
    ]
    return "\n".join(lines)
