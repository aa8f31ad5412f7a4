"""The faults of MLPerf Tiny's own calibration recipes, and none in samples that keep away from the test set.

The recipes are carried out as they are written: image classification (model_converter.py) calibrates on 500 images of
its test set; visual wake words (convert_vww.py) on the first 11 files of the folder of one class. COCO's pictures are
not here, so those of CIFAR-10 stand in for the latter, which changes neither their number nor their class.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure, timed
from benchmarks.subjects import data_folder
from tinsmith.convert.data.overview import check_dataset

_IC_SAMPLES = 500
_VWW_SAMPLES = 11
_VWW_TESTED = 200


def figures():
    data = data_folder()
    if data is None:
        yield Figure(name="faults of MLPerf Tiny's recipes", value=None, bar=0, seen="set TINSMITH_DATA")
        return
    ic = data / "mlperf_tiny" / "ic" / "pretrainedResnet_quant.tflite"
    vww = data / "mlperf_tiny" / "vww" / "vww_96_int8.tflite"
    test, ours = data / "cifar10_test_2000.npz", data / "cifar10_calib_500.npz"
    with tempfile.TemporaryDirectory() as folder:
        leaked = _of_the_test_set(test, Path(folder) / "ic.npz")
        calibration, evaluation = _first_of_one_class(ours, Path(folder))
        yield _found("image classification's recipe", leaked, test, ic, {"overlap"})
        yield _found("visual wake words' recipe", calibration, evaluation, vww, {"few", "one-class"})
        yield _found("cifar10_calib_500, which keeps away from the test images", ours, test, ic, set())
        seconds = timed(lambda: check_dataset(ours, model=ic, against=test))
    yield Figure(name="a check of 500 samples against 2,000", value=round(seconds, 2), bar=10, unit=" s")


def _found(name, calibration, evaluation, model, expected):
    """How many of the faults that are there were found; a fault that is not there counts against it."""
    hygiene = check_dataset(calibration, model=model, against=evaluation).hygiene
    found = {finding.fault for finding in hygiene.findings}
    said = "; ".join(finding.text for finding in hygiene.findings) or f"nothing in {hygiene.samples} samples"
    value = len(found & expected) - len(found - expected)
    return Figure(name=f"faults found in {name}, of {len(expected)}", value=value, bar=len(expected), at_least=True,
                  seen=f"[{said}]")  # fmt: skip


def _of_the_test_set(test, path):
    """500 of the images that the accuracy is reported on."""
    with np.load(test) as held:
        rows = np.sort(np.random.default_rng(0).permutation(len(held["x"]))[:_IC_SAMPLES])
        np.savez(path, x=held["x"][rows], y=held["y"][rows])
    return path


def _first_of_one_class(pictures, folder):
    """The first 11 files of ``person``, and 200 of both classes to report on; 96x96 pixels, 0 to 1."""
    with np.load(pictures) as held:
        x = held["x"].repeat(3, axis=1).repeat(3, axis=2).astype(np.float32) / 255
    person = np.arange(len(x)) % 2
    first = np.flatnonzero(person == 1)[:_VWW_SAMPLES]
    rest = np.setdiff1d(np.arange(len(x)), first)[:_VWW_TESTED]
    for name, rows in (("vww", first), ("vww_test", rest)):
        np.savez(folder / f"{name}.npz", x=x[rows], y=person[rows])
    return folder / "vww.npz", folder / "vww_test.npz"
