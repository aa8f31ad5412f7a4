"""What `tinsmith search` finds on the MLPerf Tiny models within half an hour, beside the stock recipes of the engines.

Nothing is searched on what is evaluated: ResNet8 is calibrated and chosen on images that are no test images; keywords
on 200 samples, and evaluated on the other 800; persons by the float model's answers to training images. The commands
are those that a user would type.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accuracy import keywords_apart
from benchmarks.figure import Figure
from benchmarks.hypervolume import hypervolume
from benchmarks.subjects import BUILD, data_folder
from benchmarks.training import resized_images
from tinsmith.compress.search.record import read_record
from tinsmith.convert.conversion import convert
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.devices.benchmarking.benchmark import benchmark_here
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.runtime.session import open_session

if TYPE_CHECKING:
    from pathlib import Path

_MINUTES = 30
_VALIDATION = 4_000
_PERSONS = 2_000
_POINTS = 0.05
# As the documentation of both engines calibrates.
_STOCK_SAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One model.

    Attributes:
        name: For people.
        source: The model.
        data: What may be searched on.
        options: The budget, as it is typed.
        most_bytes: The bar.
        scored: Says how good a model is on samples that nobody has searched on, in points, as (score, what).
        trained: The trained model, which float artifacts of both formats are made from.
        losses: Says of several models what each has lost against the first, 0 to 1.
    """

    name: str
    source: Path
    data: Path
    options: tuple[str, ...]
    most_bytes: int
    scored: object
    trained: Path
    losses: object


def figures():
    data = data_folder()
    if data is None:
        yield Figure(name="search", value=None, bar=0, seen="set TINSMITH_DATA")
        return
    folder = BUILD / "searches"
    folder.mkdir(parents=True, exist_ok=True)
    for case in (_images(data, folder), _keywords(data, folder), _persons(data, folder)):
        yield from _searched(case, folder)


def _searched(case, folder):
    output = folder / case.name
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "tinsmith",
        "search",
        case.source,
        "--data",
        case.data,
        "-o",
        output,
        *case.options,
    ]
    if not (output / "run.json").exists():
        with (folder / f"{case.name}.log").open("w") as log:
            subprocess.run([*map(str, command)], stderr=log, stdout=log, check=False)
    record = read_record(output)
    if record.chosen is None:
        yield Figure(name=f"{case.name}: bytes", value=None, bar=case.most_bytes, seen="nothing keeps the budget")
        return
    chosen = output / record.artifacts[record.chosen]["path"]
    minutes = (time.perf_counter() - started) / 60
    seen = f"[{record.trial(record.chosen).name}; {len(record.trials)} trials; {minutes:.1f} min]"
    yield Figure(name=f"{case.name}: bytes", value=chosen.stat().st_size, bar=case.most_bytes, seen=seen)
    yield Figure(name="its minutes", value=round(record.seconds / 60, 1), bar=_MINUTES)
    yield from case.scored(chosen)
    yield from _beside(case, record, output, folder)


def _beside(case, record, output, folder):
    """Hypervolume of log2 bytes, points lost and log2 latency: ours over both stock recipes'."""
    ours = [output / artifact["path"] for artifact in record.artifacts.values()]
    floats, stock = _stock(case, folder)
    paths = [floats, *stock, *ours]
    losses = dict(zip(paths, case.losses(paths), strict=True))
    points = {path: (math.log2(path.stat().st_size), losses[path], math.log2(_ms(path))) for path in paths}
    size, lost, ms = points[floats]
    reference = (size, lost + _POINTS, ms)
    volumes = [hypervolume([points[path] for path in some], reference) for some in (ours, stock)]
    told = "; ".join(_told(path, points[path]) for path in stock)
    seen = f"[{volumes[0]:.3g} over {volumes[1]:.3g}; {len(ours)} of ours; {told}]"
    value = round(volumes[0] / volumes[1], 2) if volumes[1] else None
    yield Figure(name="its hypervolume over the stock recipes'", value=value, bar=1.5, at_least=True, seen=seen)


def _told(path, point):
    return f"{path.name}: {path.stat().st_size:,} bytes, {100 * point[1]:.2f} points, {2 ** point[2]:.3g} ms"


def _stock(case, folder):
    """The float artifact, and plain int8 as the engines' own quantizers make it, by their documented calls."""
    made = {suffix: folder / f"{case.name}-float.{suffix}" for suffix in ("tflite", "onnx")}
    for path in made.values():
        if not path.exists():
            convert(case.trained, path)
    with np.load(case.data) as arrays:
        of_calibration = arrays["split"] == "calibration" if "split" in arrays else slice(None)
        samples = arrays["x"][of_calibration][:_STOCK_SAMPLES]
    stock = [folder / f"{case.name}-aeq.tflite", folder / f"{case.name}-ort.onnx"]
    _aeq(made["tflite"], stock[0], samples)
    _ort(made["onnx"], stock[1], samples)
    return made["tflite"], stock


def _aeq(source, output, samples):
    from ai_edge_quantizer import quantizer, recipe

    if output.exists():
        return
    made = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    with open_session(source) as session:
        (spec,) = session.inputs
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(str(source)).get_signature_list()
    ((key, ends),) = signature.items()
    feeds = [{ends["inputs"][0]: sample[None].astype(spec.dtype)} for sample in samples]
    made.quantize(made.calibrate({key: feeds})).export_model(str(output))


def _ort(source, output, samples):
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    if output.exists():
        return
    with open_session(source) as session:
        (spec,) = session.inputs

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._left = iter(samples)

        def get_next(self):
            sample = next(self._left, None)
            return None if sample is None else {spec.name: sample[None].astype(spec.dtype)}

    quantize_static(str(source), str(output), Reader(), per_channel=True)


def _ms(path):
    return benchmark_here(path, Plan(effort=EFFORTS["quick"])).median_ms


def _images(data, folder):
    path = images_to_search_on(data, folder, learned=None, judged=_VALIDATION)
    source = data / "mlperf_tiny/ic/pretrainedResnet.h5"
    test = data / "cifar10_test_2000.npz"
    return _Case(
        name="ResNet8",
        source=source,
        data=path,
        options=("--max-drop", "0.5%", "--max-minutes", "15"),
        most_bytes=55_000,
        scored=lambda chosen: _scored(source, chosen, test),
        trained=source,
        losses=lambda paths: _lost(paths, test),
    )


def images_to_search_on(data, folder, *, learned, judged):
    """Images that are no test images; those that judge are such as the model has learned from, as none else are left.

    Args:
        data: The folder of real data.
        folder: Where the file is written.
        learned: How many there are to learn from; None for all that are left.
        judged: How many judge.
    """
    path = folder / "images.npz"
    with np.load(data / "cifar10_calib_500.npz") as few, np.load(data / "cifar10_train_20000.npz") as many:
        left = len(many["x"]) - judged if learned is None else learned
        mixed = np.random.default_rng(0).permutation(len(many["x"]))[: left + judged]
        x, y = (np.concatenate([few[name], many[name][mixed]]) for name in ("x", "y"))
        split = ["calibration"] * len(few["x"]) + ["train"] * left + ["validation"] * judged
    np.savez(path, x=x, y=y, split=np.array(split))
    return path


def _keywords(data, folder):
    source = data / "mlperf_tiny/kws/kws_ref_model"
    calibration, evaluation = keywords_apart(data, folder)
    return _Case(
        name="keywords",
        source=source,
        data=calibration,
        options=("--max-drop", "0.5%", "--max-minutes", "6"),
        most_bytes=33_600,
        scored=lambda chosen: _scored(source, chosen, evaluation),
        trained=source,
        losses=lambda paths: _lost(paths, evaluation),
    )


def _persons(data, folder):
    tiny = data / "mlperf_tiny/vww"
    source = tiny / "vww_96_float.tflite"
    test = resized_images(data / "cifar10_test_2000.npz", folder / "persons-test.npz")
    samples = _persons_to_search_on(data, folder, source)

    def scored(chosen):
        before, after = (_named(path, test) for path in (source, chosen))
        yield Figure(name="its agreement with float", value=round(100 * float((before == after).mean()), 2), bar=99.0,
                     at_least=True, unit=" %")  # fmt: skip
        kept = int(((before == 1) & (after == 1)).sum())
        yield Figure(name=f"its share of float's {int(before.sum())} positives", value=kept, bar=46, at_least=True)

    def losses(paths):
        named = [_named(path, test) for path in paths]
        return [float((named[0] != one).mean()) for one in named]

    return _Case(
        name="persons",
        source=source,
        data=samples,
        options=("--min-agreement", "99%", "--max-class-drop", "5%", "--max-minutes", "6"),
        most_bytes=57_000,
        scored=scored,
        trained=tiny / "vww_96.h5",
        losses=losses,
    )


def _persons_to_search_on(data, folder, source):
    """No labels are known, so each image has the float model's answer as its label: one in forty is a person.

    Agreement alone would let go of persons, who are few; so the loss of either class is bounded as well.
    """
    path = folder / "persons.npz"
    calibration = resized_images(data / "cifar10_calib_500.npz", folder / "persons-calibration.npz")
    with np.load(calibration) as few, np.load(data / "cifar10_train_20000.npz") as many:
        mixed = np.random.default_rng(0).permutation(len(many["x"]))[:_PERSONS]
        np.savez(folder / "judging.npz", x=many["x"][mixed])
        judging = resized_images(folder / "judging.npz", folder / "persons-judging.npz")
        with np.load(judging) as others:
            x = np.concatenate([few["x"], others["x"]])
        split = ["calibration"] * len(few["x"]) + ["validation"] * _PERSONS
    np.savez(path, x=x, split=np.array(split))
    np.savez(path, x=x, y=_named(source, path), split=np.array(split))
    return path


def _scored(source, chosen, samples):
    before, after = evaluate_models([source, chosen], samples)
    seen = f"[{after.accuracy:.2%} of {after.samples} samples, float {before.accuracy:.2%}]"
    lost = round(100 * (before.accuracy - after.accuracy), 2)
    yield Figure(name="points it loses", value=lost, bar=0.5, seen=seen)


def _lost(paths, samples):
    first, *rest = evaluate_models(paths, samples)
    return [0.0, *(first.accuracy - found.accuracy for found in rest)]


def _named(path, images):
    with open_session(path) as session, np.load(images) as arrays:
        spec, answer = session.inputs[0], session.outputs[0].name
        layout = (lambda x: x.transpose(2, 0, 1)) if spec.shape[-1] != 3 else (lambda x: x)
        return np.array([session.run({spec.name: layout(image)[None]})[answer].argmax() for image in arrays["x"]])
