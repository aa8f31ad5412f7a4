"""Search against random trials, and a search that is killed ten times against one that is not.

Both on ResNet8 as it ships, with the real passes but those that train: ten searches with trainings would take a day.
Random trials and search each measure what they find; the killed one is measured by a function of the artifact's bytes,
so that nothing else can differ.
"""

from __future__ import annotations

import math
import random
import shutil
import signal
import subprocess
import sys
import time
from statistics import median

from benchmarks.figure import Figure
from benchmarks.hypervolume import hypervolume
from benchmarks.searches import images_to_search_on
from benchmarks.subjects import BUILD, data_folder
from tinsmith.compress.search.record import read_record

_SEEDS = range(5)
_TRIALS = 16
# Of the time of random trials, until nothing new is begun: the last generation and making the set whole come on top,
# so that it is half in all.
_SHARE = 0.3
_KILLS = 10
_LOST = 0.05
# to measure batch-norm statistics again on
_LEARNED = 2_000
_JUDGED = 500


def figures():
    yield from _measured(_against_random, "search against random trials")


def killed():
    yield from _measured(_killed, "a search that is killed ten times")


def _measured(part, what):
    data = data_folder()
    if data is None:
        yield Figure(name=what, value=None, bar=0, seen="set TINSMITH_DATA")
        return
    folder = BUILD / part.__name__.strip("_")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = data / "mlperf_tiny" / "ic" / "pretrainedResnet.h5"
    samples = images_to_search_on(data, folder, learned=_LEARNED, judged=_JUDGED)
    yield from part(source, samples, folder)


def _against_random(source, samples, folder):
    ratios, told = [], []
    for seed in _SEEDS:
        options = ["--seed", seed, "--max-trials", _TRIALS]
        drawn = _searched(source, samples, folder / f"random-{seed}", *options, "--sampler", "random")
        limit = ["--max-minutes", f"{_SHARE * drawn.seconds / 60:.3f}"]
        found = _searched(source, samples, folder / f"search-{seed}", *options, *limit)
        reference = _reference(found.trial(1))
        volumes = [hypervolume(_points(record), reference) for record in (found, drawn)]
        ratios.append(volumes[0] / volumes[1])
        print(f"  (seed {seed}: {volumes[0]:.4f} over {volumes[1]:.4f}, "
              f"{found.seconds:.0f} of {drawn.seconds:.0f} s)", flush=True)  # fmt: skip
        told.append(f"{len(found.trials)} of {len(drawn.trials)} trials, {found.seconds:.0f} of {drawn.seconds:.0f} s")
    seen = f"[{min(ratios):.2f} to {max(ratios):.2f} over {len(ratios)} seeds; {told[0]}]"
    yield Figure(name="hypervolume of a search over that of random trials, in half the time",
                 value=round(median(ratios), 3), bar=1.15, at_least=True, seen=seen)  # fmt: skip


def _searched(source, samples, output, *options):
    command = [sys.executable, "-m", "tinsmith", "search", source, "--data", samples, "-o", output, "--no-training",
               "--max-minutes", 60, *options]  # fmt: skip
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    return read_record(output)


def _reference(floats):
    """The float model's bytes and time, and five points."""
    figures = floats.figures
    return math.log2(figures.flash_bytes), _LOST, math.log2(figures.timed[0].median_ms)


def _points(record):
    """Log2 bytes, loss and log2 time of everything that was measured."""
    return [(math.log2(trial.figures.flash_bytes), trial.figures.loss, math.log2(timed.median_ms))
            for trial in record.trials if trial.whole for timed in trial.figures.timed]  # fmt: skip


def _killed(source, samples, folder):
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    began = time.monotonic()
    _ended(_child(source, samples, undisturbed))
    whole_s = time.monotonic() - began
    drawing, kills = random.Random(0), 0
    while kills < _KILLS:
        child = _child(source, samples, killed)
        try:
            child.wait(timeout=drawing.uniform(0.1, 0.5) * whole_s)
            break
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
    _ended(_child(source, samples, killed))
    one, other = ([(trial.sha256, trial.name) for trial in map(record.trial, record.front)]
                  for record in map(read_record, (undisturbed, killed)))  # fmt: skip
    seen = f"[killed {kills} times; {len(one)} artifacts in the set]"
    yield Figure(name="artifacts of the Pareto set that differ after ten kills",
                 value=len(set(one) ^ set(other)), bar=0, seen=seen)  # fmt: skip


def _ended(child):
    if child.wait():
        raise RuntimeError(f"the search ended with {child.returncode}")


def _child(source, samples, output):
    command = [sys.executable, "-m", "benchmarks.search_child", source, samples, output]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
