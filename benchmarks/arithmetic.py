"""The integers of an artifact on a CPU without VNNI, against the same on one with it.

The CPU without VNNI is QEMU's Haswell: it computes what a Haswell computes, saturation included.
Its time means nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from benchmarks.subjects import ROOT, data_folder
from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.convert.conversion import convert
from tinsmith.convert.delivery import Allowances
from tinsmith.convert.inspection import saturation_of
from tinsmith.runtime.cpu import read_cpu

EMULATOR = "qemu-x86_64-static"
_HASWELL = (EMULATOR, "-cpu", "Haswell")
_IMAGES = 200
# Runs files on arrays, through the engines that a device would use.
_RUN = """
import sys, numpy as np
from pathlib import Path
from tinsmith.runtime.engines import choose_engine, open_engine
path, feeds, answers = map(Path, sys.argv[1:])
engine = open_engine(path, choose_engine(path.suffix[1:]))
samples = np.load(feeds)
batch = engine.inputs[0].batch or len(samples)
parts = [engine.run([samples[at : at + batch]])[0] for at in range(0, len(samples), batch)]
np.save(answers, np.concatenate(parts))
"""


def figures():
    cpu = read_cpu()
    if shutil.which(EMULATOR) is None or cpu is None or not cpu.has_vnni:
        reason = "this machine has no VNNI to compare with" if shutil.which(EMULATOR) else "make emulator"
        yield Figure(name="arithmetic", value=None, bar=0, seen=reason)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _product(folder)
        yield from _widened(folder)
        yield from _artifacts(folder)


def run(model, samples, folder, *, on=()):
    """The first output of a model on samples, computed in a process of its own; ``on`` emulates another CPU."""
    np.save(folder / "feeds.npy", samples)
    command = [*on, sys.executable, "-c", _RUN, model, folder / "feeds.npy", folder / "answers.npy"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return np.load(folder / "answers.npy")


def _product(folder):
    """64 products of 255 and 127."""
    model = _matmul(folder / "product.onnx", np.full((64, 1), 127, np.int8))
    samples = np.full((1, 64), 255, np.uint8)
    right = 64 * 255 * 127
    for name, on, bar in (("without VNNI, where it saturates", _HASWELL, 1_048_544), ("with VNNI", (), right)):
        found = int(run(model, samples, folder, on=on)[0, 0])
        yield Figure(
            name=f"MatMulInteger uint8 x int8 {name}: off from {bar:,} by",
            value=abs(found - bar),
            bar=0,
            seen=f"[gives {found:,}; {right:,} is right; lint: {saturation_of(model).said}]",
        )


def _widened(folder):
    """64 products of the largest weight and the largest activation, in TFLite."""
    import keras

    layers = [keras.Input((64,)), keras.layers.Dense(8, use_bias=False, kernel_initializer="ones")]
    keras.Sequential(layers).save(folder / "ones.keras")
    ones = np.ones((32, 64), np.float32)
    np.savez(folder / "ones.npz", x=ones)
    for recipe in ("int8", "dynamic-int8"):
        model = folder / f"{recipe}.tflite"
        compress(folder / "ones.keras", load_recipe(recipe), model, data=folder / "ones.npz")
        here, there = run(model, ones, folder), run(model, ones, folder, on=_HASWELL)
        yield Figure(
            name=f"64 products of 127 and 127 in an {recipe} .tflite without VNNI, off by",
            value=round(float(np.abs(there - 64).max()), 3), bar=0.5,
            seen=f"[64 is right; differs from the same with VNNI by {np.abs(here - there).max():.3g}]",
        )  # fmt: skip


def _matmul(path, weights):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    depth, width = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "weights"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [None, depth])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [None, width])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def _artifacts(folder):
    """One model in int8, made for no CPU in particular and for one without VNNI, on both."""
    source, calibration, samples, name = _subject(folder)
    convert(source, folder / "float.onnx")
    wanted = run(folder / "float.onnx", samples, folder).argmax(axis=1)
    agreed = {}
    for device in (None, "x86-64-avx2"):
        artifact = _int8(source, folder / f"{device}.onnx", calibration, device)
        here, there = run(artifact, samples, folder), run(artifact, samples, folder, on=_HASWELL)
        said = f"made for {device}" if device else "of no device"
        same = 100 * float((here.argmax(axis=1) == there.argmax(axis=1)).mean())
        agreed[device] = [100 * float((a.argmax(axis=1) == wanted).mean()) for a in (here, there)]
        flagged = len(saturation_of(artifact).operators)
        seen = f"[{saturation_of(artifact).said}; outputs off by {np.abs(here - there).max():.3g} at most; "
        seen += f"agrees with float: {agreed[device][0]:.1f} % with VNNI, {agreed[device][1]:.1f} % without]"
        if device:
            yield Figure(name=f"{name} {said}, operators that the lint flags", value=flagged, bar=0)
            bar = 100
            yield Figure(
                name=f"{name} {said}, answers without VNNI equal to those with it",
                value=same, bar=bar, at_least=True, unit=" %", seen=seen,
            )  # fmt: skip
        else:
            yield Figure(
                name=f"{name} {said}, operators that the lint flags", value=flagged, bar=1, at_least=True, seen=seen
            )
    yield Figure(
        name=f"{name} without VNNI, agreement with float: what its own artifact gains on the other, points",
        value=round(agreed["x86-64-avx2"][1] - agreed[None][1], 2), bar=0, at_least=True,
    )  # fmt: skip
    tflite = _int8(source, folder / "small.tflite", calibration, None)
    here, there = run(tflite, samples, folder), run(tflite, samples, folder, on=_HASWELL)
    yield Figure(
        name=f"{name} as int8 .tflite, outputs that differ without VNNI", value=int((here != there).sum()), bar=0
    )


def _int8(source, output, calibration, device):
    settings = {"data": calibration, "allow": Allowances(parity=True), "device": device}
    compress(source, load_recipe("int8"), output, **settings)
    return output


def _subject(folder):
    data = data_folder()
    if data is None:
        noise = np.random.default_rng(0).normal(size=(_IMAGES, 8, 8, 1)).astype(np.float32)
        np.savez(folder / "calibration.npz", x=noise)
        return ROOT / "tests" / "golden" / "cnn.keras", folder / "calibration.npz", noise, "cnn"
    images = np.load(data / "cifar10_train_20000.npz")["x"][:_IMAGES].astype(np.float32)
    return data / "mlperf_tiny" / "ic" / "pretrainedResnet.h5", data / "cifar10_calib_500.npz", images, "ResNet8"
