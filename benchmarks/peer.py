"""The whole compress command, proof included, against a peer that proves nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.figure import Figure, interleave, process
from benchmarks.subjects import BUILD, mobilenet_v2

_PEER = BUILD / "litert-cli"


def figures():
    """tinsmith compress --recipe dynamic-int8 against litert quantize, on the same 14 MB file."""
    model = mobilenet_v2()
    litert = _litert()
    tinsmith = Path(sys.executable).with_name("tinsmith")
    with tempfile.TemporaryDirectory() as folder:
        ours = process(tinsmith, "compress", model, "--recipe", "dynamic-int8", "-o", Path(folder) / "ours.tflite")
        theirs = process(
            litert, "quantize", model, "--recipe", "dynamic_wi8_afp32", "--output", Path(folder) / "theirs.tflite"
        )
        pairs = interleave(ours, theirs, pairs=11)
    yield Figure(
        name="tinsmith compress --recipe dynamic-int8 against litert quantize",
        value=pairs.median,
        bar=2.5,
        seen=pairs.seen,
    )
    heavy = _tensorflow_loaded(model)
    yield Figure(name="tensorflow loaded by compress of a .tflite", value=heavy, bar=0)


def _litert():
    """litert-cli-nightly in an environment of its own."""
    program = _PEER / "bin" / "litert"
    if not program.exists():
        venv.create(_PEER, with_pip=True)
        subprocess.run([_PEER / "bin" / "pip", "install", "-q", "litert-cli-nightly[quantize]"], check=True)
    return program


def _tensorflow_loaded(model):
    with tempfile.TemporaryDirectory() as folder:
        code = (
            "import sys; from tinsmith.__main__ import run; "
            f"assert run(['compress', '{model}', '-r', 'dynamic-int8', '-o', '{folder}/x.tflite']) == 0; "
            "print('\\n' + str(int('tensorflow' in sys.modules)))"
        )
        said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return int(said.splitlines()[-1])
