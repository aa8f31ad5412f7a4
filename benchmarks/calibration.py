"""Calibration of MobileNetV2 (ONNX, random weights): memory and time, beside onnxruntime's own calibrators.

Every run is a child process, fed from a stream of random images, so that its peak (VmHWM) is its own. Times are the
seconds that samples add: a run of 8 is taken from one of 40, so that preparing the model, and taking ranges at the end,
cost nobody anything; the ratio of the whole runs of 40 stands beside it.

Percentile, entropy and mse take their ranges from one pass, and so do min-max and moving-average: each is timed by
itself, but memory at 1,024 samples is that of one run that takes the ranges of all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from benchmarks.subjects import mobilenet_v2_onnx

_FEW, _SOME, _MANY = 8, 40, 1024
_ROUNDS = 3
_HISTOGRAMS = ("percentile", "entropy", "mse")
_EXTREMES = ("min-max", "moving-average")
_PEERS = ("MinMax", "Percentile", "Entropy")
_MIB = 1 << 20


def figures():
    yield from _memory()
    yield from _times()


def _memory():
    for name, methods in (("extremes", _EXTREMES), ("histograms", _HISTOGRAMS)):
        few, many = (_child("ours", n, *methods)["peak_bytes"] for n in (32, _MANY))
        yield Figure(
            name=f"peak memory at 1,024 samples against 32: {', '.join(methods)}",
            value=round(many / few, 3),
            bar=1.10,
            seen=f"[{name} kept; {many / _MIB:.0f} and {few / _MIB:.0f} MiB]",
        )
    ours = few
    for peer in _PEERS:
        found = _child("theirs", 32, peer)["peak_bytes"]
        yield Figure(
            name=f"peak memory at 32 samples, histograms kept, against onnxruntime's {peer}",
            value=round(ours / found, 3),
            bar=float("inf"),
            seen=f"[{ours / _MIB:.0f} and {found / _MIB:.0f} MiB]",
        )


def _times():
    """Ours and theirs in turn, round by round; a ratio a round."""
    names = (*_EXTREMES, *_HISTOGRAMS, *_PEERS)
    rounds = []
    for number in range(_ROUNDS):
        order = names if number % 2 == 0 else names[::-1]
        rounds.append({name: _seconds(name) for name in order})
    for name in names[: -len(_PEERS)]:
        peer, bar = ("MinMax", 1.0) if name in _EXTREMES else ("Percentile", 0.5)
        yield _time(name, peer, bar, rounds)
    yield _time("Entropy", "Percentile", float("inf"), rounds)


def _time(name, peer, bar, rounds):
    ratios = [r[name][0] / r[peer][0] for r in rounds]
    ours, theirs = (median(r[n][0] for r in rounds) * 1e3 for n in (name, peer))
    whole = median(r[name][1] / r[peer][1] for r in rounds)
    return Figure(
        name=f"time a sample of {name} against onnxruntime's {peer}",
        value=round(median(ratios), 3),
        bar=bar,
        seen=(
            f"[{min(ratios):.3f} to {max(ratios):.3f} over {len(ratios)} rounds in turn; "
            f"medians {ours:.0f} and {theirs:.0f} ms; whole runs of {_SOME}: {whole:.3f}]"
        ),
    )


def _seconds(name):
    """Seconds that a sample adds, and seconds of the whole run."""
    kind = "theirs" if name in _PEERS else "ours"
    few, some = (_child(kind, n, name)["seconds"] for n in (_FEW, _SOME))
    return (some - few) / (_SOME - _FEW), some


def _child(kind, samples, *names):
    command = [sys.executable, "-m", "benchmarks.calibration", kind, mobilenet_v2_onnx(), samples, *names]
    said = subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    ).stdout
    return json.loads(said.splitlines()[-1])


def _images(samples):
    import numpy as np

    rng = np.random.default_rng(0)
    for _ in range(samples):
        yield rng.random((1, 224, 224, 3), np.float32)


def _ours(model, samples, names):
    from tinsmith.convert.calibration import method_named
    from tinsmith.convert.quantization import choose_quantizer

    methods = [method_named(name) for name in names]
    batches = ({"x": image} for image in _images(samples))
    found = choose_quantizer("onnx").calibrate(model, batches, detail=methods[0].detail)
    for method in methods:
        found.ranges(method)


def _theirs(model, samples, names):
    from onnxruntime.quantization import calibrate
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    from tinsmith.convert.quantization.onnx_model import prepare

    with tempfile.TemporaryDirectory() as folder:
        calibrator = calibrate.create_calibrator(
            prepare(model, Path(folder)),
            sorted({*QLinearOpsRegistry, *QDQRegistry}),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=calibrate.CalibrationMethod[names[0]],
        )
        name = calibrator.infer_session.get_inputs()[0].name
        feeds = ({name: image} for image in _images(samples))
        calibrator.collect_data(_Reader(feeds))
        calibrator.compute_data()


class _Reader:
    def __init__(self, feeds):
        self._feeds = feeds

    def get_next(self):
        return next(self._feeds, None)


def _peak_bytes():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _main(kind, model, samples, *names):
    started = time.perf_counter()
    {"ours": _ours, "theirs": _theirs}[kind](Path(model), int(samples), names)
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_bytes": _peak_bytes()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
