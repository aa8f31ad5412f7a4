"""Drift: the rate of false alarms beside the stated one, what is found of a shift, and what watching costs."""

from __future__ import annotations

import time
import tracemalloc
from statistics import median

import numpy as np

from benchmarks.figure import Figure
from tinsmith.runtime.monitor.building import build_reference
from tinsmith.runtime.monitor.drift import FALSE_ALARM
from tinsmith.runtime.monitor.watching import DriftWatch

_REFERENCES, _WINDOWS = 40, 100
_SAMPLES = 500
_REQUESTS = 4000


def figures():
    for name, draw in (("pictures", _pictures), ("a table of 8 columns", _tables), ("tokens", _tokens)):
        yield _false_alarms(name, draw)
        yield _found(name, draw)
    for dtype in ("uint8", "float32"):
        yield _cost(dtype)
    yield _memory()


def _false_alarms(name, draw):
    """Windows without drift that are called drifted, of references and windows that are all drawn anew."""
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(_REFERENCES):
        reference = build_reference([draw(rng, 2000, 0.0)])
        alarms += sum(_drifted(reference, draw(rng, _SAMPLES, 0.0)) for _ in range(_WINDOWS))
    windows = _REFERENCES * _WINDOWS
    return Figure(
        name=f"false alarms over the stated {FALSE_ALARM:.0%}: {name}, {_SAMPLES} samples",
        value=round(alarms / windows / FALSE_ALARM, 2),
        bar=1.0,
        seen=f"[{alarms} of {windows} windows]",
    )


def _found(name, draw):
    rng = np.random.default_rng(12)
    reference = build_reference([draw(rng, 2000, 0.0)])
    found = sum(_drifted(reference, draw(rng, _SAMPLES, 0.5)) for _ in range(_WINDOWS))
    return Figure(
        name=f"share found of half a standard deviation in {_SAMPLES} samples: {name}",
        value=found / _WINDOWS,
        bar=1.0,
        at_least=True,
    )


def _drifted(reference, sample):
    watch = DriftWatch(reference, window=10**6)
    watch.saw(*sample)
    return watch.report().state == "drift"


def _pictures(rng, samples, shift):
    """8-bit pictures whose brightness differs by 25 from one to the next, and scores of 10 classes."""
    light = rng.normal(128 + 25 * shift, 25, (samples, 1, 1, 1))
    pixels = np.clip(light + rng.normal(0, 20, (samples, 8, 8, 3)), 0, 255)
    return {"image": pixels.astype(np.uint8)}, {"scores": rng.dirichlet(np.ones(10), samples).astype(np.float32)}


def _tables(rng, samples, shift):
    columns = rng.normal(0, 1, (samples, 8))
    columns[:, 3] += shift
    return {"row": columns.astype(np.float32)}, {"value": rng.lognormal(0, 1, (samples, 1)).astype(np.float32)}


def _tokens(rng, samples, shift):
    """Texts of 30 words or so, by Zipf's law."""
    lengths = np.clip(rng.normal(30 + 8 * shift, 8, samples), 1, 64).astype(int)
    tokens = np.minimum(rng.zipf(1.3, (samples, 64)), 20_000).astype(np.int32)
    tokens[np.arange(64) >= lengths[:, None]] = 0
    return {"ids": tokens}, {"scores": rng.dirichlet((2, 1), samples).astype(np.float32)}


def _cost(dtype):
    """Of a request with 150,528 bytes and the scores of 1,000 classes."""
    rng = np.random.default_rng(13)
    count = 150_528 // np.dtype(dtype).itemsize
    images = [rng.integers(0, 256, (1, count // 3, 3)).astype(dtype) for _ in range(20)]
    scores = [rng.dirichlet(np.ones(1000), 1).astype(np.float32) for _ in range(20)]
    reference = build_reference(({"x": image}, {"y": score}) for image, score in zip(images, scores, strict=True))
    watch = DriftWatch(reference)
    times = []
    for number in range(_REQUESTS):
        feeds, outputs = {"x": images[number % 20]}, {"y": scores[number % 20]}
        started = time.perf_counter()
        watch.saw(feeds, outputs)
        times.append((time.perf_counter() - started) * 1e6)
    spread = f"[p10 {np.percentile(times, 10):.0f}, p99 {np.percentile(times, 99):.0f} over {_REQUESTS} requests]"
    name = f"watching a request of 150,528 bytes of {dtype} and 1,000 scores"
    return Figure(name=name, value=round(median(times), 1), bar=50.0, unit=" µs", seen=spread)


def _memory():
    few, many = (_peak_bytes(batches) for batches in (70, 700))
    return Figure(
        name="peak memory of a reference of 700,000 samples against one of 70,000",
        value=round(many / few, 3),
        bar=1.05,
        seen=f"[{many / 2**20:.1f} and {few / 2**20:.1f} MiB]",
    )


def _peak_bytes(batches):
    rng = np.random.default_rng(14)
    tracemalloc.start()
    build_reference(({"x": rng.normal(size=(1000, 8)).astype(np.float32)}, {}) for _ in range(batches))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
