"""A MobileNetV1-0.25 that int8 breaks: how far each rung brings it back, and what the ladder reaches; and ResNet8."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import ladder
from benchmarks.figure import Figure
from benchmarks.subjects import data_folder
from tinsmith.convert.conversion import convert
from tinsmith.convert.equalization import ByActivations, ByWeights, correct_biases, equalize, observe_reaches
from tinsmith.convert.quantization import Int8, Plan, choose_quantizer
from tinsmith.convert.quantization.grid import Grid
from tinsmith.convert.rounding import round_weights
from tinsmith.runtime.engines import choose_engine, open_engine
from tinsmith.runtime.session import Session

_MODEL = "tflite_support/mobilenet_v1_0.25_224_1_default_1.tflite"
# Of the outputs of these operators every channel is made up to this many times smaller.
RESCALED = (3, 8, 14, 21)
_FURTHEST = 1e3
_SIDE = 224
_PORTION = 20
_CALIBRATION, _CORRECTION, _VALIDATION, _TEST = 100, 60, 200, 300
_BAR = 95.0


def figures():
    """What share of the float model's answers int8 gives, rung by rung, on both formats."""
    data = data_folder()
    if data is None:
        yield Figure(name="fragile MobileNetV1-0.25", value=None, bar=0, seen="set TINSMITH_DATA")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rescaled = break_model(data / _MODEL, folder / "fragile.tflite")
        convert(folder / "fragile.tflite", folder / "fragile.onnx")
        for suffix in ("tflite", "onnx"):
            yield from _Climb(data, folder / f"fragile.{suffix}", rescaled).figures()
        yield from ladder.resnet8(data, folder)


class _Climb:
    """The rungs on one file."""

    def __init__(self, data, source, rescaled):
        self.data, self.source, self.rescaled = data, source, rescaled
        self.quantizer = choose_quantizer(source.suffix[1:])
        self.expected = self.answers(source)

    def figures(self):
        what = f"fragile MobileNetV1-0.25 {self.source.suffix[1:]}"
        broken = self.agreement(self.source)
        yield Figure(name=f"{what} int8, as it comes", value=broken, bar=_BAR, unit=" %", seen="[broken on purpose]")
        weights, even = (self.beside(name) for name in ("weights", "even"))
        found = equalize(self.source, weights, ByWeights())
        axis = -1 if self.source.suffix == ".tflite" else 1
        reaches = observe_reaches(self.source, {pair.seen: axis for pair in found.pairs}, self.samples(_CALIBRATION))
        by_reach = equalize(self.source, even, ByActivations(reaches=reaches))
        named = self.named(by_reach.widest()[: len(self.rescaled)])
        yield Figure(name=f"{what}: rescaled layers among the most uneven", value=named, bar=len(self.rescaled),
                     at_least=True)  # fmt: skip
        yield self.figure(f"{what} equalized by weights", weights)
        yield self.figure(f"{what} equalized by activations", even)
        yield self.figure(f"{what} equalized, weights rounded together", self.rounded(even))
        yield self.figure(f"{what} equalized, biases corrected", self.corrected(even))
        yield from self.climbed(what)

    def climbed(self, what):
        pictures = np.concatenate(list(images(self.data / "cifar10_calib_500.npz", _CALIBRATION + _VALIDATION)))
        apart = pictures[:_CALIBRATION], pictures[_CALIBRATION:]
        classes = self.classes(self.source, pictures)
        yield from ladder.fragile(self.source, apart, classes, self.test_agreement, what, len(self.rescaled))

    def rounded(self, path):
        output = self.beside("rounded")
        round_weights(path, output, self.samples(_CORRECTION), grid=Grid(steps=127))
        return output

    def figure(self, name, path):
        return Figure(name=name, value=self.agreement(path), bar=_BAR, at_least=True, unit=" %")

    def named(self, pairs):
        """How many of the rescaled tensors are among those between some pairs; .onnx has names of its own."""
        if self.source.suffix == ".tflite":
            return len({pair.seen for pair in pairs} & set(self.rescaled))
        return sum(any(name in pair.seen or name in pair.producer for pair in pairs) for name in self.rescaled)

    def corrected(self, path):
        output, calibration = self.beside("corrected"), self.calibration(path)
        correct_biases(path, output, lambda plain, small: self.quantizer.quantize(plain, small, _PLAN, calibration),
                       lambda: self.samples(_CORRECTION))  # fmt: skip
        return output

    def agreement(self, path):
        small = self.beside("small")
        self.quantizer.quantize(path, small, _PLAN, self.calibration(path))
        return self.test_agreement(small)

    def test_agreement(self, path):
        return round(100 * float((self.answers(path) == self.expected).mean()), 2)

    def calibration(self, path):
        return self.quantizer.calibrate(path, self.samples(_CALIBRATION))

    def samples(self, count):
        for batch in images(self.data / "cifar10_calib_500.npz", count):
            yield {"input": batch}

    def answers(self, path):
        return self.classes(
            path, (row for batch in images(self.data / "cifar10_test_2000.npz", _TEST) for row in batch)
        )

    @staticmethod
    def classes(path, pictures):
        session = Session(open_engine(path, choose_engine(path.suffix[1:])))
        name = session.inputs[0].name
        found = [int(next(iter(session.run({name: row[None]}).values())).argmax()) for row in pictures]
        session.close()
        return np.array(found)

    def beside(self, name):
        return self.source.with_name(f"{name}{self.source.suffix}")


_PLAN = Plan(scheme=Int8())


def break_model(source: Path, output: Path) -> list[str]:
    """Write the model with ReLU for ReLU6 and four tensors whose channels differ by up to 1,000.

    Written without the code that is to mend it. Gives the names of the layers that were rescaled.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(source))
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if getattr(operator.builtinOptions, "fusedActivationFunction", 0):
            operator.builtinOptions.fusedActivationFunction = 1
    rng = np.random.default_rng(4)
    for at in RESCALED:
        first, second = graph.operators[at], graph.operators[at + 1]
        count = int(graph.tensors[first.outputs[0]].shape[-1])
        by = _FURTHEST ** rng.uniform(-1, 0, count).astype(np.float32)
        depthwise = int(graph.tensors[first.inputs[1]].shape[0]) == 1
        _multiply(model, first.inputs[1], by if depthwise else by.reshape(-1, 1, 1, 1))
        _multiply(model, first.inputs[2], by)
        _multiply(model, second.inputs[1], 1 / by)
    flatbuffer_utils.write_model(model, str(output))
    return [graph.tensors[graph.operators[at].outputs[0]].name.decode() for at in RESCALED]


def _multiply(model, index, by):
    tensor = model.subgraphs[0].tensors[index]
    buffer = model.buffers[tensor.buffer]
    values = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape) * by
    buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)


def images(path, count):
    """CIFAR images as the model wants them, a few at a time."""
    with np.load(path) as stored:
        pictures = stored["x"][:count]
    for start in range(0, len(pictures), 20):
        large = [
            Image.fromarray(p).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR) for p in pictures[start : start + 20]
        ]
        yield np.stack([np.asarray(p, np.float32) / 127.5 - 1 for p in large])
