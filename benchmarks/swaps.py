"""A thousand swaps under load: no request fails, and the memory stays."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from benchmarks.served import InProcess, serving
from benchmarks.subjects import data_folder
from tinsmith.runtime.server.servables import Source
from tinsmith.runtime.server.serving import Limits
from tinsmith.runtime.session import open_vetted

_MODELS = {"resnet": "mlperf_tiny/ic/pretrainedResnet.tflite", "mnist": "onnx/mnist.onnx"}
_VARIANTS = 4
_WARM = 50
_CLIENTS = 2


def figures(serve=InProcess, swaps=1000):
    data = data_folder()
    if data is None:
        yield Figure(name="swaps under load", value=None, bar=0, seen="set TINSMITH_DATA")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield from _Swaps(Path(folder), data).figures(serve, swaps)


class _Swaps:
    """Models of which several contents exist, and clients that know every right answer."""

    def __init__(self, folder, data):
        self.folder = folder
        self.variants = {name: _variants(data / path) for name, path in _MODELS.items()}
        self.answers = {}
        self.feeds = {}
        for name, contents in self.variants.items():
            self.answers[name] = [self.answer(name, content) for content in contents]
            self.place(name, 0)

    def path(self, name):
        return self.folder / f"{name}{Path(_MODELS[name]).suffix}"

    def place(self, name, number):
        staged = self.folder / "staged"
        staged.write_bytes(self.variants[name][number % _VARIANTS])
        staged.replace(self.path(name))

    def answer(self, name, content):
        self.path(name).write_bytes(content)
        with open_vetted(self.path(name), engine=None, accelerator="cpu", threads=1) as session:
            rng = np.random.default_rng(0)
            spec = session.inputs[0]
            self.feeds[name] = {spec.name: rng.random(spec.fixed(1)).astype(spec.dtype)}
            return session.run_raw(self.feeds[name])

    def figures(self, serve, swaps):
        limits = Limits(queue=64, deadline_s=60.0)
        sources = [Source(name=name, path=self.path(name), limits=limits) for name in _MODELS]
        with serving(serve, sources) as server:
            clients = [_Client(server, self, name) for name in _MODELS for _ in range(_CLIENTS)]
            began = time.perf_counter()
            sizes, refused = self.swap(server, swaps)
            took_s = time.perf_counter() - began
            wrong = [error for client in clients for error in client.stop()]
        asked = sum(client.asked for client in clients)
        grown = 100 * (np.median(sizes[-_WARM:]) / np.median(sizes[:_WARM]) - 1)
        seen = f"[of {asked:,} by {len(clients)} clients, in {took_s:.0f} s; {', '.join(map(str, wrong[:3]))}]"
        yield Figure(name=f"requests that failed or were wrong in {swaps} swaps", value=len(wrong), bar=0, seen=seen)
        yield Figure(name="swaps that were refused", value=len(refused), bar=0, seen=f"[{refused[:1]}]")
        seen = f"[{sizes[0] / 1e6:.1f} MB after {_WARM} swaps, {sizes[-1] / 1e6:.1f} MB at the end]"
        yield Figure(name="RSS growth", value=round(float(grown), 2), bar=5.0, unit=" %", seen=seen)

    def swap(self, server, swaps):
        """RSS after each swap but the first ones, and the reasons of refusals."""
        sizes, refused = [], []
        for number in range(1, swaps + 1):
            name = list(_MODELS)[number % 2]
            self.place(name, number // 2)
            refused += filter(None, [server.load(name)])
            if number > min(_WARM, swaps // 4):
                sizes.append(server.rss_bytes())
        return sizes, refused


class _Client(threading.Thread):
    """Asks one thing again and again, and knows what may come out."""

    def __init__(self, server, swaps, name):
        super().__init__(daemon=True)
        self.server, self.name_, self.feeds, self.answers = server, name, swaps.feeds[name], swaps.answers[name]
        self.asked, self.wrong, self.ending = 0, [], threading.Event()
        self.start()

    def run(self):
        while not self.ending.is_set():
            status, outputs = self.server.ask(self.name_, self.feeds, timeout_s=60.0)
            self.asked += 1
            if status != 200:
                self.wrong.append(status)
            elif not any(_same(outputs, answer) for answer in self.answers):
                self.wrong.append("another answer")

    def stop(self):
        self.ending.set()
        self.join()
        return self.wrong


def _same(outputs, answer):
    return all(np.allclose(outputs[name], answer[name], rtol=1e-4, atol=1e-6) for name in answer)


def _variants(path):
    """The file, and others with a few bytes of weights changed."""
    content = path.read_bytes()
    variants = [content]
    for seed in range(1, _VARIANTS):
        changed = bytearray(content)
        rng = np.random.default_rng(seed)
        for at in rng.integers(len(content) // 3, 2 * len(content) // 3, 4):
            changed[4 * (at // 4)] ^= 0x0F
        variants.append(bytes(changed))
    return variants
