"""Does the benchmark's number hold? An hour on two cores that do nothing else."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from benchmarks.subjects import mobilenet_v2_int8
from tinsmith.devices.benchmarking.benchmark import benchmark_here
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.runtime.intervals import bootstrap
from tinsmith.runtime.timing import early_stopping, percentile
from tinsmith.runtime.verdict import STABLE

RUNS = 40
PAIRS = 20
_QUERIES = 2000


def figures():
    yield from percentiles()
    yield from answer_in_time()
    yield from against_litert_benchmark()
    yield from intervals()
    yield from hogs()


def hogs():
    """Each run with a program that uses one core, and one without, in turns."""
    model, plan = mobilenet_v2_int8(), Plan(effort=EFFORTS["rapid"])
    detected, alarmed, alarms = 0, 0, []
    for _ in range(RUNS):
        verdict = benchmark_here(model, plan).verdict
        alarmed += verdict.state != STABLE
        alarms += verdict.reasons
        with hog():
            detected += benchmark_here(model, plan).verdict.state != STABLE
    yield Figure(name="runs with a CPU hog that are called noisy", value=detected / RUNS, bar=0.95, at_least=True)
    seen = "; ".join(sorted(set(alarms))[:5])
    yield Figure(name="runs without one that are called noisy", value=alarmed / RUNS, bar=0.05, seen=f"[{seen}]")


def intervals():
    """The pooled median of all runs stands for the truth."""
    model, plan = mobilenet_v2_int8(), Plan(effort=EFFORTS["quick"])
    measured = [benchmark_here(model, plan) for _ in range(RUNS)]
    truth = median(ms for one in measured for ms in one.samples_ms)
    held = [truth in one.interval_ms for one in measured]
    widths = [one.interval_ms.relative_width(one.median_ms) for one in measured]
    medians = sorted(one.median_ms for one in measured)
    seen = (
        f"[pooled {truth:.3f} ms; medians {medians[0]:.3f} to {medians[-1]:.3f}; stable {_stable(measured)} of {RUNS}]"
    )
    yield Figure(
        name="intervals that hold the pooled median", value=sum(held) / RUNS, bar=0.9, at_least=True, seen=seen
    )
    seen = f"[{min(widths):.3f} to {max(widths):.3f}]"
    yield Figure(name="their width, of the median", value=round(median(widths), 4), bar=0.1, seen=seen)


def against_litert_benchmark():
    """One process of ours and one of theirs, A B B A."""
    model = mobilenet_v2_int8()
    plan = Plan(effort=replace(EFFORTS["quick"], processes=1).with_runs(400))
    _litert_ms(model)
    pairs = []
    for number in range(PAIRS):
        if number % 2:
            theirs, ours = _litert_ms(model), benchmark_here(model, plan).median_ms
        else:
            ours, theirs = benchmark_here(model, plan).median_ms, _litert_ms(model)
        pairs.append(ours / theirs)
    interval = bootstrap(pairs, median)
    seen = f"[median {median(pairs):.3f}, 95 % {interval.low:.3f} to {interval.high:.3f}, {PAIRS} pairs]"
    yield Figure(
        name="MobileNetV2 int8 against litert-benchmark, upper end", value=round(interval.high, 4), bar=1.03, seen=seen
    )


def answer_in_time():
    """Rapid and normal in turns, each by the command line from its start."""
    model, took_s, held, widths = mobilenet_v2_int8(), [], 0, []
    for _ in range(PAIRS):
        started = time.perf_counter()
        rapid = _told(model, "rapid")
        took_s.append(time.perf_counter() - started)
        low, high = rapid["interval_ms"]
        held += low <= _told(model, "normal")["median_ms"] <= high
        widths.append((high - low) / rapid["median_ms"])
    seen = f"[{min(took_s):.1f} to {max(took_s):.1f} s over {PAIRS}]"
    yield Figure(name="--effort rapid, start included", value=round(max(took_s), 2), bar=12, unit=" s", seen=seen)
    seen = f"[median width {median(widths):.3f}]"
    name = "intervals of rapid that hold normal's median"
    yield Figure(name=name, value=held / PAIRS, bar=0.9, at_least=True, seen=seen)


def percentiles():
    """Ours of the latencies that LoadGen's trace holds, against those that its summary states."""
    try:
        import mlperf_loadgen as loadgen
    except ImportError:
        yield Figure(
            name="percentiles against LoadGen", value=None, bar=0.01, seen="mlcommons-loadgen is not installed"
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        _single_stream(loadgen, Path(folder))
        samples_ns, stated = _trace_ns(Path(folder)), _stated_ns(Path(folder))
    ours = {f"p{p}": percentile(samples_ns, p) for p in (50, 90, 95, 99)}
    ours |= {f"early stopping p{p}": early_stopping(samples_ns, p) for p in (90, 99)}
    apart = {name: abs(value / stated[name] - 1) for name, value in ours.items()}
    worst = max(apart, key=apart.get)
    seen = f"[{len(samples_ns)} queries; worst {worst}: {ours[worst]:.0f} and {stated[worst]:.0f} ns]"
    yield Figure(name="percentiles against LoadGen, furthest apart", value=round(apart[worst], 5), bar=0.01, seen=seen)


@contextlib.contextmanager
def hog():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _stable(measured):
    return sum(one.verdict.state == STABLE for one in measured)


def _told(model, effort):
    command = [Path(sys.executable).with_name("tinsmith"), "benchmark", model, "--effort", effort, "--format", "json"]
    said = subprocess.run(command, check=True, capture_output=True)
    return json.loads(said.stdout)["measurements"][0]


def _litert_ms(model):
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [Path(sys.executable).with_name("litert-benchmark"), f"--model={model}", "--num_runs=400"]
        subprocess.run([*command, f"--result_json={result}", "--warmup_runs=50"], check=True, capture_output=True)
        return json.loads(result.read_text())["latency"]["median_ms"]


def _single_stream(loadgen, folder):
    """Queries that take from 0.2 ms on, a few of them much longer."""

    def issue(samples):
        for sample in samples:
            time.sleep(0.0002 + 0.002 * (sample.id % 17 == 0))
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0)])

    settings, log, output = loadgen.TestSettings(), loadgen.LogSettings(), loadgen.LogOutputSettings()
    settings.scenario, settings.mode = loadgen.TestScenario.SingleStream, loadgen.TestMode.PerformanceOnly
    settings.min_query_count, settings.min_duration_ms = _QUERIES, 100
    output.outdir, output.copy_summary_to_stdout = str(folder), False
    log.log_output, log.enable_trace = output, True
    sut = loadgen.ConstructSUT(issue, lambda: None)
    qsl = loadgen.ConstructQSL(16, 16, lambda _: None, lambda _: None)
    loadgen.StartTestWithLogSettings(sut, qsl, settings, log)
    loadgen.DestroyQSL(qsl)
    loadgen.DestroySUT(sut)


def _trace_ns(folder):
    text = (folder / "mlperf_log_trace.json").read_text().rstrip().rstrip(",")
    lines = (
        line.rstrip().rstrip(",") for line in text.splitlines() if '"name":"Sample"' in line and '"ph":"b"' in line
    )
    return [json.loads(line)["args"]["complete_ns"] for line in lines]


def _stated_ns(folder):
    stated = {}
    for line in (folder / "mlperf_log_summary.txt").read_text().splitlines():
        words = line.split()
        if "percentile latency" in line and line[0].isdigit() and "th" not in words[0]:
            stated[f"p{float(words[0]):g}"] = float(words[-1])
        if line.startswith(" * Early stopping"):
            stated[f"early stopping p{float(words[3][:-2]):g}"] = float(words[-1])
    return stated
