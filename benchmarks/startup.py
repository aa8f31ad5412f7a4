"""How long the command line itself takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure, interleave, process, timed
from benchmarks.subjects import BUILD, mobilenet_v2

_BARE = """
import click

@click.group()
def cli():
    \"\"\"A bare group.\"\"\"

for name in "demo inspect convert compress evaluate compare benchmark recipe formats doctor".split():
    cli.add_command(click.Command(name, help="A command."))

cli()
"""


def figures():
    tinsmith = Path(sys.executable).with_name("tinsmith")
    BUILD.mkdir(parents=True, exist_ok=True)
    bare = BUILD / "bare.py"
    bare.write_text(_BARE)
    pairs = interleave(process(tinsmith, "--help"), process(sys.executable, bare, "--help"), pairs=21)
    yield Figure(name="tinsmith --help against a bare click group", value=pairs.median, bar=2.5, seen=pairs.seen)
    heavy = _loaded_by_help()
    yield Figure(name="numpy or tensorflow loaded by --help", value=len(heavy), bar=0, seen=str(sorted(heavy)))
    model = mobilenet_v2()
    inspect = process(tinsmith, "inspect", model)
    inspect()
    times = [timed(inspect) for _ in range(9)]
    yield Figure(
        name=f"tinsmith inspect of a {model.stat().st_size / 1e6:.1f} MB .tflite",
        value=round(median(times), 3),
        bar=1.0,
        unit=" s",
        seen=f"[{min(times):.3f} to {max(times):.3f} over {len(times)} runs]",
    )


def _loaded_by_help():
    code = "from tinsmith.__main__ import run; run(['--help']); import sys; print('\\n' + ' '.join(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return {"numpy", "tensorflow"} & set(said.splitlines()[-1].split())
