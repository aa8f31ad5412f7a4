"""Files of what a benchmark found, in the form that their names ask for: .json, .md, .csv or .html."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tinsmith.devices.benchmarking.page import findings_page, history_page
from tinsmith.devices.benchmarking.sheets import csv_text, markdown
from tinsmith.runtime.files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinsmith.devices.benchmarking.findings import Findings
    from tinsmith.devices.benchmarking.history import Series

__all__ = ["FORMS", "write_findings", "write_history"]

FORMS = (".json", ".md", ".csv", ".html")
_SCHEMA = 1


def write_findings(path: Path, findings: Findings, *, command: str) -> None:
    """Write a file, whole or not at all.

    Args:
        path: Its ending says in which form.
        findings: What to write.
        command: What the user typed.

    Raises:
        OutputError: It can't be written.
    """
    forms = {
        ".json": lambda: json.dumps({"schema": _SCHEMA, **findings.to_json()}, indent=2, allow_nan=False) + "\n",
        ".md": lambda: markdown(findings),
        ".csv": lambda: csv_text(findings),
        ".html": lambda: findings_page(findings, command=command),
    }
    write_text(path, forms[path.suffix]())


def write_history(path: Path, series: Sequence[Series]) -> None:
    """Write earlier measurements as a page; raises as ``write_findings``."""
    write_text(path, history_page(series))
