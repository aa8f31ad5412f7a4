"""Trials a minute on one Dask worker and on two: recipes without training on ResNet8, each worker on a core of its own.

What workers do once, such as opening the model, is done before the clock runs. Results of passes are shared by a
folder, as on workers of one machine, and each run begins without any.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from benchmarks.subjects import BUILD, data_folder
from tinsmith.compress.recipe import Recipe
from tinsmith.compress.search.cluster import DaskSpread
from tinsmith.compress.search.spreading import Care, LocalSpread
from tinsmith.compress.search.subject import Subject
from tinsmith.compress.search.trying import Job
from tinsmith.convert.cluster import Cluster

_ROUNDS = 3
_SCHEMES = ("int8", "int16x8")
_METHODS = ("min-max", "moving-average", "percentile", "entropy", "mse")


def figures():
    data = data_folder()
    if data is None:
        yield Figure(name="trials a minute on two workers", value=None, bar=1.7, seen="set TINSMITH_DATA")
        return
    subject = Subject(
        model=data / "mlperf_tiny" / "ic" / "pretrainedResnet.h5", data=str(data / "cifar10_calib_500.npz")
    )
    ratios, rates = [], {1: [], 2: []}
    for number in range(_ROUNDS):
        for workers in (1, 2) if number % 2 == 0 else (2, 1):
            rates[workers].append(_trials_a_minute(subject, workers))
        ratios.append(rates[2][-1] / rates[1][-1])
    seen = (
        f"[{min(ratios):.2f} to {max(ratios):.2f} over {_ROUNDS} pairs; "
        f"{median(rates[1]):.1f} and {median(rates[2]):.1f} trials a minute]"
    )
    yield Figure(
        name="trials a minute, two workers over one", value=round(median(ratios), 2), bar=1.7, at_least=True, seen=seen
    )


def _trials_a_minute(subject, workers):
    BUILD.mkdir(parents=True, exist_ok=True)
    jobs = _jobs()
    with (
        tempfile.TemporaryDirectory(dir=BUILD) as folder,
        _started(workers) as dask,
        Cluster(dask.scheduler_address) as cluster,
    ):
        cores = itertools.cycle(sorted(os.sched_getaffinity(0)))
        for address, core in zip(cluster.client.scheduler_info()["workers"], cores, strict=False):
            cluster.client.run(_pin, core, workers=[address])
        spread = DaskSpread(cluster, subject, functools.partial(LocalSpread, care=Care(workers=1)), Path(folder))
        _carried_out(spread, [_job({"kind": "quantize", "scheme": "float16"})] * workers)
        started = time.perf_counter()
        _carried_out(spread, jobs)
        return 60 * len(jobs) / (time.perf_counter() - started)


def _pin(core):
    """Run what this worker starts on one core, as on a machine that has no more."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _carried_out(spread, jobs):
    for _, outcome in spread.outcomes(jobs):
        if outcome.failure:
            raise RuntimeError(outcome.failure)


def _started(workers):
    """A scheduler and as many workers, each a process with one thread."""
    import distributed

    scheduler = {"dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1"}
    worker = {"cls": distributed.Nanny, "options": {"nthreads": 1, "silence_logs": logging.CRITICAL}}
    return distributed.SpecCluster(
        scheduler={"cls": distributed.Scheduler, "options": scheduler},
        workers={str(number): worker for number in range(workers)},
        silence_logs=logging.CRITICAL,
    )


def _jobs():
    return [
        _job(*({"kind": "equalize"},) * equalized, {"kind": "quantize", "scheme": scheme, "calibration": method})
        for equalized in (0, 1)
        for scheme in _SCHEMES
        for method in _METHODS
    ]


def _job(*steps):
    recipe = Recipe.model_validate({"version": 1, "target": "tflite", "steps": list(steps)})
    return Job(recipe=recipe, target="tflite")
