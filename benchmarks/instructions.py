"""Are instructions the same each time, and do they rank models? A quarter of an hour on a board that counts them."""

from __future__ import annotations

import tempfile
from itertools import combinations
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from benchmarks.flashed import flashed
from benchmarks.subjects import data_folder
from tinsmith.convert.inspection.report import inspect_model
from tinsmith.devices.benchmarking.instructions import CountPlan, count_instructions
from tinsmith.devices.boards.starting import KINDS, lack_of

RUNS = 10
# Where multiply-accumulates lie nearer to each other than this, something else may decide.
_APART = 1.5
_KIND = "icount"
_NAME = f"instructions of one inference, {RUNS} runs, how far they lie apart"
_MODELS = (
    "mlperf_tiny/ad/ad01_int8.tflite",
    "mlperf_tiny/kws/kws_ref_model.tflite",
    "mlperf_tiny/vww/vww_96_int8.tflite",
    "mlperf_tiny/ic/pretrainedResnet_quant.tflite",
    "coral/mobilenet_v2_1.0_224_quant.tflite",
)


def figures():
    data = data_folder()
    if data is None or (lack := lack_of(KINDS[_KIND])):
        yield Figure(name=_NAME, value=None, bar=0, seen="no TINSMITH_DATA" if data is None else lack.message)
        return
    models = [data / name for name in _MODELS]
    with tempfile.TemporaryDirectory() as folder, flashed("instructions", _KIND, Path(folder)) as made:
        runs = [_counted(models, made.device) for _ in range(RUNS)]
    counts = {model: [run[model] for run in runs] for model in models}
    yield from _repeated(counts)
    yield _ranked({model: median(counted) for model, counted in counts.items()})


def _counted(models, device):
    """One process a model."""
    report = count_instructions(models, [device], CountPlan(processes=1, time_limit_s=120.0))
    if report.worst:
        raise report.worst
    return {model: count.instructions for model, count in zip(models, report.counts, strict=True)}


def _repeated(counts):
    for model, counted in counts.items():
        apart = (max(counted) - min(counted)) / median(counted)
        seen = f"[{model.name}: {min(counted):,} to {max(counted):,}]"
        yield Figure(name=_NAME, value=round(100 * apart, 4), bar=0.5, unit=" %", seen=seen)


def _ranked(instructions):
    macs = {model: inspect_model(model).macs for model in instructions}
    pairs = [
        sorted(pair, key=macs.get) for pair in combinations(instructions, 2)
        if max(macs[one] for one in pair) >= _APART * min(macs[one] for one in pair)
    ]  # fmt: skip
    wrong = [(less, more) for less, more in pairs if instructions[less] >= instructions[more]]
    said = "; ".join(f"{model.name} {macs[model]:,} -> {count:,.0f}" for model, count in instructions.items())
    name = "pairs of models in another order than their multiply-accumulates"
    return Figure(name=name, value=len(wrong), bar=0, seen=f"[of {len(pairs)}; {said}]")
