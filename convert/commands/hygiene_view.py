"""How the hygiene of calibration samples is shown; ``data check`` and ``compress`` print the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinsmith.convert.data.hygiene import Hygiene

__all__ = ["hygiene_facts"]


def hygiene_facts(hygiene: Hygiene) -> list[tuple[str, object]]:
    """One row a finding, and one for what was not looked at."""
    rows: list[tuple[str, object]] = [
        (finding.fault, "\n".join([finding.text, *(f"  {example}" for example in finding.examples)]))
        for finding in hygiene.findings
    ]
    if not rows:
        rows.append(("calibration", f"{hygiene.samples:,} samples, nothing wrong was found"))
    if hygiene.unchecked:
        rows.append(("not checked", "; ".join(hygiene.unchecked)))
    return rows
