"""Thousands of damaged files: each is refused or does no harm, and the server goes on."""

from __future__ import annotations

import functools
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from benchmarks.served import InProcess, serving
from benchmarks.subjects import ROOT, data_folder
from tinsmith.runtime.feeds import random_feeds
from tinsmith.runtime.server.servables import Source
from tinsmith.runtime.server.serving import Limits
from tinsmith.runtime.server.vetting import vet_in_child
from tinsmith.runtime.session import open_vetted

_TRIAL_S = 10.0
# A load is one trial, and the same again in this process; what takes longer hangs.
_HANGS_S = 3 * _TRIAL_S
_LANES = 2
_GOOD = ROOT / "tests" / "golden" / "cnn.tflite"
_REAL = (
    "mlperf_tiny/ic/pretrainedResnet_quant.tflite",
    "mlperf_tiny/kws/kws_ref_model_float32.tflite",
    "tflite_micro/hello_world_int8.tflite",
    "tflite_micro/trained_lstm.tflite",
    "onnx/mnist.onnx",
)
# What a length or an offset is least expected to be.
_WORDS = (0, 1, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 0x10000)


def figures(serve=InProcess, files=2000):
    data = data_folder()
    if data is None:
        yield Figure(name="damaged files", value=None, bar=0, seen="set TINSMITH_DATA")
        return
    with tempfile.TemporaryDirectory() as folder:
        damaged = list(damaged_files(data, files))
        lanes = [_Lane(Path(folder), number, damaged[number::_LANES]) for number in range(_LANES)]
        sources = [Source(name="good", path=_GOOD)]
        sources += [Source(name=lane.name_of(s), path=lane.path(s), limits=Limits(time_limit_s=_TRIAL_S))
                    for lane in lanes for s in ("tflite", "onnx")]  # fmt: skip
        vet = functools.partial(vet_in_child, time_limit_s=_TRIAL_S)
        began = time.perf_counter()
        with serving(serve, sources, vet=vet) as server:
            for lane in lanes:
                lane.begin(server)
            for lane in lanes:
                lane.join()
        yield from _report(lanes, time.perf_counter() - began)


def _report(lanes, took_s):
    fates = sum((lane.fates for lane in lanes), Counter())
    tried = sum(fates.values())
    seen = f"[{tried:,} files in {took_s:.0f} s: {dict(sorted(fates.items()))}]"
    yield Figure(name="damaged files that were tried", value=tried, bar=sum(len(lane.files) for lane in lanes),
                 at_least=True, seen=seen)  # fmt: skip
    harmed = [name for lane in lanes for name in lane.harmed]
    yield Figure(name="after which the server was not what it was", value=len(harmed), bar=0, seen=f"{harmed[:3]}")
    hung = [name for lane in lanes for name in lane.hung]
    yield Figure(name="which hung", value=len(hung), bar=0, seen=f"{hung[:3]}")
    slowest = max(lane.slowest_s for lane in lanes)
    yield Figure(name="the slowest answer", value=round(slowest, 1), bar=_HANGS_S, unit=" s")


class _Lane(threading.Thread):
    """Loads its files one after another, asks those that were taken, and the good model after each."""

    def __init__(self, folder, number, files):
        super().__init__(daemon=True)
        self.folder, self.number, self.files = folder, number, files
        self.fates, self.harmed, self.hung, self.slowest_s = Counter(), [], [], 0.0

    def begin(self, server):
        self.server = server
        with open_vetted(_GOOD, engine=None, accelerator="cpu", threads=1) as session:
            self.good = random_feeds(session.inputs, seed=0)
            self.answer = session.run_raw(self.good)
        self.start()

    def name_of(self, suffix):
        return f"bad-{suffix}-{self.number}"

    def path(self, suffix):
        return self.folder / f"{self.name_of(suffix)}.{suffix}"

    def run(self):
        for name, suffix, content in self.files:
            self.path(suffix).write_bytes(content)
            began = time.perf_counter()
            trial = threading.Thread(target=self.one, args=[suffix], daemon=True)
            trial.start()
            trial.join(_HANGS_S)
            self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
            if trial.is_alive():
                self.hung.append(name)
                self.fates["hung"] += 1
            self.look(name)

    def one(self, suffix):
        model = self.name_of(suffix)
        refused = self.server.load(model)
        if refused is not None:
            self.fates[f"{suffix} refused"] += 1
            return
        status, _ = self.server.ask(model, self.feeds(suffix), timeout_s=_TRIAL_S)
        self.fates[f"{suffix} taken, asked: {status}"] += 1
        self.server.unload(model)

    def feeds(self, suffix):
        """What the file, damaged as it is, says that it takes."""
        with open_vetted(self.path(suffix), engine=None, accelerator="cpu", threads=1) as session:
            return random_feeds(session.inputs, seed=0)

    def look(self, name):
        status, outputs = self.server.ask("good", self.good)
        if status != 200 or any(not np.array_equal(outputs[n], self.answer[n]) for n in self.answer):
            self.harmed.append(name)


def damaged_files(data, count):
    """So many as name, format and bytes: the malformed ones first, then real ones that were damaged in turn."""
    malformed = sorted((data / "malformed").iterdir())
    for path in malformed:
        yield path.name, "tflite", path.read_bytes()
    real = [data / path for path in _REAL] + sorted((ROOT / "tests" / "golden").glob("*.onnx"))
    damages = (_flip, _cut, _set_words, _flip_early)
    for number in range(count - len(malformed)):
        path = real[number % len(real)]
        damage = damages[number // len(real) % len(damages)]
        rng = np.random.default_rng(number)
        yield f"{path.name} {damage.__name__[1:]} {number}", path.suffix[1:], damage(path.read_bytes(), rng)


def _flip(content, rng):
    """A few bits anywhere."""
    changed = bytearray(content)
    for at in rng.integers(0, len(content), rng.integers(1, 33)):
        changed[at] ^= 1 << rng.integers(8)
    return bytes(changed)


def _flip_early(content, rng):
    """A few bytes where the structure lies: at the ends, not among the weights."""
    changed = bytearray(content)
    reach = min(2048, len(content))
    for at in rng.integers(0, reach, rng.integers(1, 9)):
        changed[at if rng.integers(2) else -1 - at] = rng.integers(256)
    return bytes(changed)


def _cut(content, rng):
    return content[: rng.integers(0, len(content))]


def _set_words(content, rng):
    """Offsets and lengths that lead nowhere, beyond the end, or back."""
    changed = bytearray(content)
    reach = min(4096, len(content) - 4)
    for _ in range(rng.integers(1, 5)):
        at = 4 * (rng.integers(0, reach) // 4)
        at = at if rng.integers(2) else (len(content) - 4 - at) // 4 * 4
        word = (*_WORDS, len(content), len(content) - 1, 2**32 - int(at) - 1)[rng.integers(len(_WORDS) + 3)]
        changed[at : at + 4] = int(word).to_bytes(4, "little")
    return bytes(changed)
