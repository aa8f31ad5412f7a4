"""``tinsmith compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table

__all__ = ["compare"]


@click.command()
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@options.data_option
@options.force_option("unsafe-layers")
@options.time_limit_option
@options.seed_option
@options.format_option
def compare(reference: Path, other: Path, forced: tuple[str, ...], output_format: str, **settings: Any) -> None:
    """Show how far two models' answers lie apart."""
    from tinsmith.convert.comparison import compare_models

    compared = compare_models(reference, other, allow_unsafe="unsafe-layers" in forced, **settings)
    rows = [
        [d.output, f"{d.largest:.3g}", f"{d.mean:.3g}", "equal" if d.snr_db is None else f"{d.snr_db:.1f}"]
        for d in compared.differences
    ]
    same = "-" if compared.agreement is None else f"{compared.agreement:.2%}"
    view = [
        table(["output", "largest difference", "mean", "SNR dB"], rows),
        f"{other.name} against {reference.name} on {compared.origin}; same class named: {same}",
    ]
    print_result(output_format, {"comparison": compared.to_json()}, view)
