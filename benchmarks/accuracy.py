"""Accuracy and size on the MLPerf Tiny models; nothing is calibrated or chosen on what is evaluated."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from benchmarks.subjects import data_folder
from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.convert.data import open_dataset
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.convert.model import identify
from tinsmith.convert.predictors import opened_predictor

_CALIBRATION_SAMPLES = 200


def figures():
    data = data_folder()
    if data is None:
        yield Figure(name="ResNet8 and KWS", value=None, bar=0, seen="set TINSMITH_DATA")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield from _resnet8(data, Path(folder))
        yield from _keywords(data, Path(folder))


def _resnet8(data, folder):
    source = data / "mlperf_tiny" / "ic" / "pretrainedResnet.h5"
    for target in ("tflite", "onnx"):
        output = folder / f"ic.{target}"
        compress(source, load_recipe("int8"), output, data=data / "cifar10_calib_500.npz")
    paths = [source, folder / "ic.tflite", folder / "ic.onnx"]
    floats, tflite, onnx = evaluate_models(paths, data / "cifar10_test_2000.npz")
    beside = f"[float {floats.accuracy:.2%}; reference int8 86.15 %]"
    yield Figure(name="ResNet8 int8 TFLite accuracy", value=_percent(tflite.accuracy), bar=86.0, at_least=True,
                 unit=" %", seen=beside)  # fmt: skip
    yield Figure(name="ResNet8 int8 TFLite bytes", value=(folder / "ic.tflite").stat().st_size, bar=98_500)
    yield Figure(name="ResNet8 int8 TFLite agreement with float", value=_percent(tflite.agreement(floats)), bar=97.5,
                 at_least=True, unit=" %", seen="[reference 97.6 %]")  # fmt: skip
    yield Figure(name="ResNet8 int8 ONNX accuracy", value=_percent(onnx.accuracy), bar=85.8, at_least=True, unit=" %",
                 seen=f"[agreement {onnx.agreement(floats):.2%}]")  # fmt: skip


def _keywords(data, folder):
    source = data / "mlperf_tiny" / "kws" / "kws_ref_model"
    calibration, evaluation = keywords_apart(data, folder)
    for target in ("tflite", "onnx"):
        compress(source, load_recipe("int8"), folder / f"kws.{target}", data=calibration)
        floats, int8 = evaluate_models([source, folder / f"kws.{target}"], evaluation)
        drop = _percent(floats.accuracy - int8.accuracy)
        seen = f"[float {floats.accuracy:.2%}, int8 {int8.accuracy:.2%} on {floats.samples} samples]"
        yield Figure(name=f"KWS int8 {target} drop in points", value=drop, bar=0.6, seen=seen)


def keywords_apart(data, folder):
    """200 samples to calibrate on, class by class, and the other 800 to evaluate: two files."""
    with opened_predictor(identify(data / "mlperf_tiny" / "kws" / "kws_ref_model")) as model:
        samples = open_dataset(data / "kws01_1000.npz", model.inputs)
    parts = samples.stratified_split(_CALIBRATION_SAMPLES, seed=0)
    paths = folder / "calibration.npz", folder / "evaluation.npz"
    for part, path in zip(parts, paths, strict=True):
        (batch,) = part.batches(len(part))
        np.savez(path, y=batch.labels, x=next(iter(batch.feeds.values())))
    return paths


def _percent(share):
    return round(100 * share, 2)
