"""Ten times what a model can do: who is let in is answered in time, and the others hear at once that they are not."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from benchmarks.served import InProcess, serving
from tinsmith.runtime.server.servables import Source
from tinsmith.runtime.server.serving import Limits
from tinsmith.runtime.session import open_vetted
from tinsmith.runtime.timing import percentile

_SIDE, _ROWS = 512, 64
_TARGET_S = 0.020
_TIMES = 10
# Threads of the generator: more than can be inside the server, so that it never waits for one.
_THREADS = 256


def figures(serve=InProcess, seconds=60, deadline_s=0.5):
    with tempfile.TemporaryDirectory() as folder:
        path, alone_s = slow_model(Path(folder))
        limits = Limits(instances=1, queue=32, deadline_s=deadline_s)
        with serving(serve, [Source(name="slow", path=path, limits=limits)]) as server:
            capacity = _capacity(server, clients=2, seconds=5)
            before = server.rss_bytes()
            load = _OpenLoop(server, rate=_TIMES * capacity, seconds=seconds, deadline_s=deadline_s)
            load.run()
            yield from _report(load, capacity, alone_s, deadline_s, before)


def _report(load, capacity, alone_s, deadline_s, before):
    counts, accepted = load.counts, sorted(load.accepted_s)
    seen = (
        f"[{capacity:.0f}/s with a model of {alone_s * 1e3:.0f} ms; {sum(counts.values()):,} at {load.rate:.0f}/s: "
        f"{dict(sorted(counts.items()))}; the generator was late by {max(load.late_s) * 1e3:.0f} ms at most]"
    )
    p99 = percentile(accepted, 99) if len(accepted) >= 662 else None
    yield Figure(name="p99 of accepted requests", value=None if p99 is None else round(p99 * 1e3, 1),
                 bar=deadline_s * 1e3, unit=" ms", seen=seen)  # fmt: skip
    others = sum(count for status, count in counts.items() if status not in {200, 429})
    yield Figure(name="neither answered nor 429", value=100 * others / sum(counts.values()), bar=0.1, unit=" %")
    served = 100 * counts[200] / load.seconds / capacity
    yield Figure(name="answered a second, of the capacity", value=round(served, 1), bar=80.0, unit=" %", at_least=True)
    third = max(1, len(load.sizes) // 3)
    first, last = np.median(load.sizes[1 : third + 1]), np.median(load.sizes[-third:])
    seen = f"[{before / 1e6:.1f} MB before, {first / 1e6:.1f} and {last / 1e6:.1f} MB then]"
    grown = round(100 * (last / first - 1), 1)
    yield Figure(name="RSS growth, last third over first", value=grown, bar=5.0, unit=" %", seen=seen)


class _OpenLoop:
    """Sends at a fixed rate, whatever comes back; a latency counts from when its request was due."""

    def __init__(self, server, *, rate, seconds, deadline_s):
        self.server, self.rate, self.seconds, self.deadline_s = server, rate, seconds, deadline_s
        self.feeds = _feeds()
        self.counts, self.accepted_s, self.late_s, self.sizes = Counter(), [], [0.0], []
        self._lock = threading.Lock()

    def run(self):
        began = time.perf_counter()
        with ThreadPoolExecutor(_THREADS) as threads:
            for number in range(int(self.rate * self.seconds)):
                due = began + number / self.rate
                while (left := due - time.perf_counter()) > 0:
                    time.sleep(left)
                threads.submit(self.one, due)
                if number % int(self.rate) == 0:
                    self.sizes.append(self.server.rss_bytes())

    def one(self, due):
        late_s = time.perf_counter() - due
        status, _ = self.server.ask("slow", self.feeds, timeout_s=self.deadline_s - late_s)
        took_s = time.perf_counter() - due
        with self._lock:
            self.counts[status] += 1
            self.late_s.append(late_s)
            if status == 200:
                self.accepted_s.append(took_s)


def _capacity(server, *, clients, seconds):
    """Answers a second to clients that wait for each."""
    end = time.perf_counter() + seconds
    counts = [0] * clients

    def ask(at):
        while time.perf_counter() < end:
            status, _ = server.ask("slow", _feeds())
            counts[at] += status == 200

    threads = [threading.Thread(target=ask, args=[at]) for at in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def slow_model(folder):
    """An .onnx file that takes about 20 ms here, and what it took."""
    path = folder / "slow.onnx"
    layers = 8
    for _ in range(3):
        _write_chain(path, layers)
        took_s = _run_s(path)
        if abs(took_s / _TARGET_S - 1) < 0.1:
            break
        layers = max(1, round(layers * _TARGET_S / took_s))
    return path, took_s


def _run_s(path):
    with open_vetted(path, engine=None, accelerator="cpu", threads=1) as session:
        times = []
        for _ in range(20):
            started = time.perf_counter()
            session.run_raw(_feeds())
            times.append(time.perf_counter() - started)
    return float(np.median(times))


def _feeds():
    return {"x": np.ones((_ROWS, _SIDE), np.float32)}


def _write_chain(path, layers):
    """x · W · W · … with an orthogonal W, so that the numbers stay what they are."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.linalg.qr(np.random.default_rng(0).normal(size=(_SIDE, _SIDE)))[0].astype(np.float32)
    names = ["x", *(f"h{number}" for number in range(1, layers)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, _SIDE]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
