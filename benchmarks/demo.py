"""The first thing that a newcomer runs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.figure import Figure, process, timed


def figures():
    tinsmith = Path(sys.executable).with_name("tinsmith")
    with tempfile.TemporaryDirectory() as folder:
        took = timed(process(tinsmith, "demo", "-o", Path(folder) / "demo"))
    yield Figure(name="tinsmith demo", value=round(took, 1), bar=90, unit=" s")
