"""The table of variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.commands.output import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tinsmith.compress.variants import Variant

__all__ = ["variants_table"]


def variants_table(variants: Sequence[Variant], *, best: str = "") -> Table:
    """One row a variant; ``best`` is the file that is marked."""
    columns = ["", "format", "recipe", "bytes", "zip", "accuracy", "agreement", "p50 ms", "p90 ms"]
    return table(columns, [_cells(variant, best) for variant in variants])


def _cells(variant: Variant, best: str) -> list[object]:
    return [
        "best" if variant.file == best else "",
        variant.format,
        variant.recipe,
        variant.size_bytes,
        variant.zip_bytes,
        f"{variant.accuracy:.2%}",
        f"{variant.agreement:.2%}",
        variant.p50_ms,
        variant.p90_ms,
    ]
