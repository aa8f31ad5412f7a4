"""What the recovery ladder reaches from the command line's own call: ResNet8, and a MobileNetV1 broken on purpose.

Rungs are chosen on training images, or on the images that calibrate; test images are looked at once, at the end. ONNX
artifacts are made for the CPU at hand: where it has no VNNI, their weights have 7 bits.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from tinsmith.compress.budget import Budget
from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.recovery import Limits, Recovery
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.runtime.cpu import read_cpu

_RECIPES = Path(__file__).parent / "recipes"
_LIMITS = Limits(trials=60, minutes=120)
_VALIDATION = 2_000
_WANTED = {"resnet8": 0.993, "fragile": 0.96}
_SEED = 0


def resnet8(data, folder):
    """Agreement with the float model that it was made from, accuracy and size, on both formats."""
    samples = folder / "chosen-on.npz"
    _split(samples, data / "cifar10_calib_500.npz", data / "cifar10_train_20000.npz")
    accuracies = []
    for target in ("tflite", "onnx"):
        source, output = folder / f"r8.{target}", folder / f"r8-int8.{target}"
        steps = load_recipe(str(_RECIPES / "ic-bn-recalibrate.yaml"), overrides=[f"target={target}"])
        compress(data / "mlperf_tiny/ic/pretrainedResnet.h5", steps, source, data=data / "cifar10_train_20000.npz")
        found = _climbed(source, output, samples, _WANTED["resnet8"])
        before, after = evaluate_models([source, output], data / "cifar10_test_2000.npz")
        accuracies.append(_percent(after.accuracy))
        yield Figure(name=f"ResNet8 {target}, the ladder: agreement with its float model",
                     value=_percent(after.agreement(before)), bar=98.2, at_least=True, unit=" %",
                     seen=f"[{found.climb.best.name}; {len(found.climb.trials)} recipes]")  # fmt: skip
        yield Figure(name="its accuracy", value=accuracies[-1], bar=88.0, at_least=True, unit=" %")
        if target == "tflite":
            yield from _sizes(found.climb.recipe, source, output, samples)
    yield Figure(name="points between the two formats", value=round(abs(accuracies[0] - accuracies[1]), 2), bar=0.3)


def _sizes(chosen, source, output, samples):
    yield Figure(name="its bytes", value=output.stat().st_size, bar=98_500)
    quantize = chosen.steps[-1].model_copy(update={"io": "int8"})
    steps = (*chosen.steps[:-1], quantize, *load_recipe("slim").steps)
    slim = output.with_name("r8-slim.tflite")
    compress(source, chosen.model_copy(update={"steps": steps}), slim, data=samples)
    yield Figure(name="its bytes, int8 ends and slim", value=slim.stat().st_size, bar=86_900)


def fragile(source, images, expected, agreement, what, rescaled):
    """Agreement with its own float answers after the ladder, and whether the report names layers.

    Args:
        source: The broken model.
        images: Pictures that calibrate, and others that the ladder chooses by: two arrays.
        expected: The float model's classes for all of them.
        agreement: Says how far an artifact agrees on the test images, in percent.
        what: To name figures by.
        rescaled: How many tensors were rescaled on purpose.
    """
    samples = source.with_name(f"{source.suffix[1:]}-samples.npz")
    split = ["calibration"] * len(images[0]) + ["validation"] * len(images[1])
    np.savez(samples, x=np.concatenate(images), y=expected, split=np.array(split))
    output = source.with_name(f"climbed{source.suffix}")
    found = _climbed(source, output, samples, _WANTED["fragile"])
    seen = f"[{found.climb.best.name}; {len(found.climb.trials)} recipes; {output.stat().st_size:,} bytes]"
    yield Figure(name=f"{what}, the ladder", value=agreement(output), bar=95.0, at_least=True, unit=" %", seen=seen)
    yield Figure(name=f"{what}: layers that the report names", value=_named(found), bar=rescaled,
                 at_least=True)  # fmt: skip


def _named(found):
    """Tensors that equalization found uneven, the five worst, and operators that were kept."""
    uneven = [names for one in found.measured for names in str(one.get("most uneven", "none")).split("; ")]
    kept = next(step.keep for step in found.climb.recipe.steps if step.kind == "quantize")
    return len(set(uneven) - {"none"}) + len(kept)


def _climbed(source, output, samples, agreement):
    asked = Recovery(budget=Budget(min_agreement=agreement), limits=_LIMITS)
    found = compress(source, load_recipe("int8"), output, data=samples, recovery=asked, device=_device(source))
    steps = [step.document() for step in found.climb.recipe.steps]
    output.with_suffix(".recipe.json").write_text(json.dumps(steps, indent=2))
    return found


def _device(source):
    """Only where .onnx would answer wrongly here."""
    cpu = read_cpu()
    return "x86-64-avx2" if source.suffix == ".onnx" and cpu is not None and cpu.saturates else None


def _split(path, calibration, training):
    """Calibration images, and 2,000 training images to choose by."""
    with np.load(calibration) as few, np.load(training) as many:
        picked = np.random.default_rng(_SEED).permutation(len(many["x"]))[:_VALIDATION]
        x, y = (np.concatenate([few[name], many[name][picked]]) for name in ("x", "y"))
        split = ["calibration"] * len(few["x"]) + ["validation"] * _VALIDATION
    np.savez(path, x=x, y=y, split=np.array(split))


def _percent(share):
    return round(100 * share, 2)
