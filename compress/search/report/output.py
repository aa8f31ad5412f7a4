"""Files of what a search found, in the form that their names ask for: .html, .md, .csv or .json."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tinsmith.compress.search.report.page import page
from tinsmith.compress.search.report.sheets import csv_text, markdown
from tinsmith.runtime.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.compress.search.record import Record

__all__ = ["FORMS", "write_report"]

FORMS = (".html", ".md", ".csv", ".json")


def write_report(path: Path, record: Record, run: Path) -> None:
    """Write a file, whole or not at all.

    Args:
        path: Its ending, one of ``FORMS``, says in which form.
        record: What was found.
        run: The search's folder, for command lines.

    Raises:
        DataError: The record is damaged.
        OutputError: It can't be written.
    """
    forms = {
        ".html": lambda: page(record, run),
        ".md": lambda: markdown(record, run),
        ".csv": lambda: csv_text(record),
        ".json": lambda: json.dumps(record.to_json(), indent=2) + "\n",
    }
    write_text(path, forms[path.suffix]())
