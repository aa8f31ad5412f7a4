"""Is an int8 file as good on another CPU? ResNet8 on a virtual arm64 board beside this machine; two minutes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.flashed import flashed
from benchmarks.subjects import data_folder
from tinsmith.convert.elsewhere import evaluate_elsewhere
from tinsmith.devices.answering import DeviceAnswers
from tinsmith.devices.boards.starting import KINDS, lack_of

_KIND = "ssh"
_NAME = "accuracy of ResNet8 int8 on the arm64 board less that here, in points"


def figures():
    data = data_folder()
    if data is None or (lack := lack_of(KINDS[_KIND])):
        yield Figure(name=_NAME, value=None, bar=0, seen="no TINSMITH_DATA" if data is None else lack.message)
        return
    model = data / "mlperf_tiny" / "ic" / "pretrainedResnet_quant.tflite"
    with tempfile.TemporaryDirectory() as folder, flashed("evaluated", _KIND, Path(folder)) as made:
        [found] = evaluate_elsewhere(
            [model], data / "cifar10_test_2000.npz", lambda path: [DeviceAnswers(made.device, path)]
        )
    yield from _judged(found)


def _judged(found):
    [there] = found.there
    if there.error:
        yield Figure(name=_NAME, value=None, bar=0, seen=there.error.message)
        return
    engines = f"{found.engine} {found.engine_version} here, {there.engine} {there.engine_version} there"
    seen = f"[{found.here.text} here, {there.evaluation.text} there, {there.samples} samples; {engines}]"
    points = 100 * abs(found.here.accuracy - there.evaluation.accuracy)
    yield Figure(name=_NAME, value=points, bar=0, seen=seen)
    seen = f"[any number differs at {there.other_outputs}]"
    yield Figure(name="samples at which it names another class", value=there.other_answers, bar=0, seen=seen)
