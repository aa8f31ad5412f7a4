"""What compression that trains reaches on the MLPerf Tiny models: each row the mean of three seeds, with its spread.

Nothing is chosen on the test images: each recipe runs once a seed, on the training images alone. Training takes hours
on two cores, so an artifact that lies in build/bench/training and was made by the same steps, seed and samples is not
made again; its manifest says so.
"""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path
from statistics import mean, median

import numpy as np

from benchmarks.figure import Figure
from benchmarks.subjects import BUILD, data_folder
from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.convert.inspection import inspect_model
from tinsmith.runtime.artifact import manifest_path
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.session import open_session

_SEEDS = (0, 1, 2)
_ROUNDS = 30
_RECIPES = Path(__file__).parent / "recipes"


def figures():
    data = data_folder()
    if data is None:
        yield Figure(name="compression that trains", value=None, bar=0, seen="set TINSMITH_DATA")
        return
    yield from _images(data)
    yield from _persons(data)
    yield from _slim(data)


class _Bench:
    """Artifacts of ResNet8, made once, and their accuracy on the test images."""

    def __init__(self, data):
        self._data = data
        self._source = data / "mlperf_tiny" / "ic" / "pretrainedResnet.h5"
        self._folder = BUILD / "training"
        self._folder.mkdir(parents=True, exist_ok=True)

    def trained(self, recipe, seed):
        """By one of this folder's recipes, on the training images."""
        path = self._folder / f"{recipe}-{seed}.tflite"
        steps = load_recipe(str(_RECIPES / f"{recipe}.yaml"))
        samples = self._data / "cifar10_train_20000.npz"
        if not _made_before(path, steps, seed, self._source, samples):
            started = time.perf_counter()
            compress(self._source, steps, path, data=samples, seed=seed)
            print(f"  ({recipe}, seed {seed}: {(time.perf_counter() - started) / 60:.1f} minutes)")
        return path

    def quantized(self, artifact, recipe="int8"):
        """In 8 bits, calibrated on 500 images that are not test images."""
        path = artifact.with_name(f"{artifact.stem}-{recipe}.tflite")
        compress(artifact, load_recipe(recipe), path, data=self._data / "cifar10_calib_500.npz")
        return path

    def accuracies(self, paths):
        return [100 * found.accuracy for found in evaluate_models(paths, self._data / "cifar10_test_2000.npz")]


def _made_before(path, recipe, seed, source, samples):
    if not (path.exists() and manifest_path(path).exists()):
        return False
    manifest = json.loads(manifest_path(path).read_text())
    lineage = manifest["lineage"]
    steps = [step for step in lineage["steps"] if step["kind"] != "convert"]
    return (
        manifest["sha256"] == sha256_of(path)
        and steps == [step.document() for step in recipe.steps]
        and (lineage["seed"], lineage["source_sha256"]) == (seed, sha256_of(source))
        and lineage["data_sha256"] == sha256_of(samples)
    )


def _images(data):
    bench = _Bench(data)
    baseline = [bench.trained("ic-bn-recalibrate", seed) for seed in _SEEDS]
    plain = [bench.quantized(path) for path in baseline]
    yield _mean("ResNet8, bn-recalibrate, float (reference 86.30 %)", bench.accuracies(baseline), bar=88.0)
    yield _mean("ResNet8, bn-recalibrate, int8 (reference 86.15 %)", bench.accuracies(plain), bar=88.0)
    yield from _halved(bench, baseline[0])
    for name, recipe, bar in (("magnitude 70 %", "ic-magnitude", 0.56), ("16 clusters", "ic-clusters", 0.65)):
        made = [bench.trained(recipe, seed) for seed in _SEEDS]
        int8 = [bench.quantized(path) for path in made]
        yield _mean(f"ResNet8, {name}, float", bench.accuracies(made), bar=86.0)
        ratios = [_zipped(small) / _zipped(whole) for small, whole in zip(int8, plain, strict=True)]
        beside = f"int8 {mean(bench.accuracies(int8)):.2f} %"
        yield _mean(f"ResNet8, {name}, int8 zip of the plain int8's", ratios, bar=bar, at_least=False, beside=beside)
    aware = [bench.trained("ic-quantize-aware", seed) for seed in _SEEDS]
    yield _mean("ResNet8, quantization-aware, int8 (reference 86.15 %)", bench.accuracies(aware), bar=88.3)


def _halved(bench, baseline):
    half = [bench.trained("ic-channels", seed) for seed in _SEEDS]
    small = [bench.quantized(path, "int8-slim") for path in half]
    yield _mean("ResNet8, half the MACs and distilled, float", bench.accuracies(half), bar=85.5)
    yield _mean("the same, int8 and slim", bench.accuracies(small), bar=85.0)
    sizes = [path.stat().st_size for path in small]
    yield Figure(name="its bytes (reference 98,496)", value=max(sizes), bar=48_500)
    yield _speed("p50 of the float pair, half over whole", half[0], baseline, (1, 32, 32, 3), bar=0.70)


def _persons(data):
    folder, tiny = BUILD / "training", data / "mlperf_tiny" / "vww"
    source = tiny / "vww_96_float.tflite"
    images = resized_images(data / "cifar10_test_2000.npz", folder / "persons-test.npz")
    calibration = resized_images(data / "cifar10_calib_500.npz", folder / "persons-calibration.npz")
    lean, int8 = folder / "persons-lean.tflite", folder / "persons-lean-int8.tflite"
    compress(source, load_recipe("dead-channels"), lean, data=calibration)
    compress(lean, load_recipe("int8-slim"), int8, data=calibration)
    before, after, small = (_answers(path, images) for path in (source, lean, int8))
    yield Figure(name="VWW, dead channels: parameters (before 210,850)", value=_parameters(lean), bar=31_000)
    yield Figure(name="its bytes, slim (before 866,284)", value=lean.stat().st_size, bar=135_000)
    yield Figure(name="its largest difference", value=float(np.abs(before - after).max()), bar=1e-5)
    yield _speed("p50, lean over whole", lean, source, (1, 96, 96, 3), bar=0.65)
    yield Figure(name="VWW, the same, int8 and slim: bytes (reference 333,288)", value=int8.stat().st_size, bar=57_000)
    named = before.argmax(axis=1), small.argmax(axis=1)
    agreed, kept = (named[0] == named[1]).mean(), int(((named[0] == 1) & (named[1] == 1)).sum())
    yield Figure(
        name="its agreement with float", value=round(100 * float(agreed), 2), bar=99.0, at_least=True, unit=" %"
    )
    yield Figure(name=f"its share of float's {int((named[0] == 1).sum())} positives", value=kept, bar=46, at_least=True)
    yield _speed("p50, lean int8 over the reference int8", int8, tiny / "vww_96_int8.tflite", (1, 96, 96, 3), bar=0.92)


def _slim(data):
    for file, bar in (("kws/kws_ref_model.tflite", 33_600), ("ic/pretrainedResnet_quant.tflite", 87_000)):
        source = data / "mlperf_tiny" / file
        slim = BUILD / "training" / f"slim-{source.name}"
        compress(source, load_recipe("slim"), slim)
        yield Figure(name=f"{source.name}, slim: bytes (before {source.stat().st_size:,})", value=slim.stat().st_size,
                     bar=bar, seen="bit-identical, or it would not be there")  # fmt: skip


def _mean(name, values, *, bar, at_least=True, beside=""):
    seen = f"[{min(values):.4g} to {max(values):.4g} over seeds {_SEEDS[0]} to {_SEEDS[-1]}] {beside}".rstrip()
    return Figure(name=name, value=round(mean(values), 3), bar=bar, at_least=at_least, seen=seen)


def _speed(name, small, whole, shape, *, bar):
    """Medians of 50 runs in turn, A B B A: the median of the ratios of each round."""
    ratios = []
    with open_session(small) as one, open_session(whole) as other:
        calls = [_call(session, shape) for session in (one, other)]
        for number in range(_ROUNDS):
            order = calls if number % 2 else calls[::-1]
            times = [_median_of(call) for call in order]
            a, b = times if number % 2 else times[::-1]
            ratios.append(a / b)
    spread = f"[{min(ratios):.2f} to {max(ratios):.2f} over {_ROUNDS} interleaved rounds]"
    return Figure(name=name, value=round(median(ratios), 3), bar=bar, seen=spread)


def _call(session, shape):
    spec = session.inputs[0]
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 127, shape) if spec.dtype == "int8" else rng.random(shape)
    feeds = {spec.name: values.astype(spec.dtype)}
    return lambda: session.run(feeds)


def _median_of(call):
    call()
    times = []
    for _ in range(50):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)


def _zipped(path):
    return len(zlib.compress(path.read_bytes(), 9))


def _parameters(path):
    return inspect_model(path).weights.parameters


def _answers(path, images):
    with open_session(path) as session, np.load(images) as arrays:
        name, answer = session.inputs[0].name, session.outputs[0].name
        return np.concatenate([session.run({name: image[None]})[answer] for image in arrays["x"]])


def resized_images(source, path):
    """To 96x96, bilinear, 0 to 1, as the person detector was trained."""
    from PIL import Image

    if not path.exists():
        with np.load(source) as arrays:
            images = [Image.fromarray(image).resize((96, 96), Image.Resampling.BILINEAR) for image in arrays["x"]]
        np.savez(path, x=np.stack([np.asarray(image, np.float32) / 255 for image in images]))
    return path
