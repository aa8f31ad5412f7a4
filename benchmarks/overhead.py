"""What a session adds to the engine's own call."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from benchmarks.figure import Figure
from benchmarks.subjects import ROOT, mobilenet_v2_int8
from tinsmith.runtime.session import open_session

_ROUNDS = 40
_INNER = 400


def figures():
    path = mobilenet_v2_int8()
    image = np.random.default_rng(0).integers(-128, 127, (1, 224, 224, 3)).astype(np.int8)
    yield _ratio("session.run on MobileNetV2 int8 against set_tensor, invoke, get_tensor", path, image)
    yield _added("session.run added to a 1-layer model", ROOT / "tests" / "golden" / "dense.tflite")


def _bare(path):
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call(array):
        interpreter.set_tensor(source, array)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return call


def _ratio(name, path, array):
    """The median over rounds of paired medians, so that a drift of the machine hits both alike."""
    bare = _bare(path)
    with open_session(path) as session:
        feeds = {session.inputs[0].name: array}
        ratios = []
        for number in range(_ROUNDS):
            calls = [lambda: session.run(feeds), lambda: bare(array)]
            times = [_median_of(call, 7) for call in (calls if number % 2 else calls[::-1])]
            ours, theirs = times if number % 2 else times[::-1]
            ratios.append(ours / theirs)
    spread = f"[{min(ratios):.3f} to {max(ratios):.3f} over {_ROUNDS} interleaved rounds]"
    return Figure(name=name, value=round(median(ratios), 4), bar=1.02, seen=spread)


def _added(name, path):
    bare = _bare(path)
    array = np.ones((1, 4), np.float32)
    with open_session(path) as session:
        feeds = {session.inputs[0].name: array}
        added = [
            (_median_of(lambda: session.run(feeds), _INNER) - _median_of(lambda: bare(array), _INNER)) * 1e6
            for _ in range(_ROUNDS)
        ]
    spread = f"[{min(added):.2f} to {max(added):.2f} over {_ROUNDS} rounds]"
    return Figure(name=name, value=round(median(added), 2), bar=10.0, unit=" µs", seen=spread)


def _median_of(call, runs):
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)
