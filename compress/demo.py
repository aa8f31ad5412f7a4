"""The whole path on one small model: train, compress, prove, evaluate, measure, choose.

The data is scikit-learn's digits (1,797 real handwritten digits of 8x8 pixels), which comes inside that package, so
nothing is downloaded.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import builtin_recipes, load_recipe
from tinsmith.compress.variants import Variants
from tinsmith.convert.frameworks import require
from tinsmith.runtime.files import staged_file, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.compress.recipe import BuiltinRecipe
    from tinsmith.compress.variants import Measure, Variant

__all__ = ["DemoReport", "run_demo"]

logger = logging.getLogger(__name__)

_TEST_SHARE = 0.25
_CALIBRATION_SAMPLES = 200
_EPOCHS = 15
_TARGETS = ("tflite", "onnx")
# A variant may lose this much accuracy and still be chosen.
_ALLOWED_DROP = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demo found.

    Attributes:
        rows: The float model first, then each variant.
        best: The file that lost next to nothing and is the smallest.
        only: Recipes for one format alone, by that format.
        test_samples: How many digits the accuracy stands on.
    """

    rows: tuple[Variant, ...]
    best: str
    only: dict[str, tuple[str, ...]]
    test_samples: int

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def run_demo(output: Path, measure: Measure, *, seed: int = 0) -> DemoReport:
    """Train a small CNN, compress it by every built-in recipe to TFLite and ONNX, and compare what came out.

    Args:
        output: A folder; artifacts, ``manifest.json`` and ``report.json`` stay there.
        measure: Measures one artifact.
        seed: Of the split and the training.

    Raises:
        MissingDependencyError: TensorFlow, onnxruntime or scikit-learn is not installed.
        OutputError: The folder can't be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    _write_digits(output, seed)
    logger.info("train a small CNN on 1,147 digits")
    _train(output, seed)
    variants = Variants(output / "test.npz", measure, seed=seed)
    trained = variants.judge(output / "digits.keras", "float32 (trained)")
    rows: list[Variant] = []
    for target in _TARGETS:
        compress(output / "digits.keras", load_recipe("float32"), output / f"digits-float32.{target}", seed=seed)
        made = _compressed(target, output, variants, seed)
        rows += sorted(made, key=lambda row: -row.size_bytes)
    report = DemoReport(rows=(trained, *rows), best=_best(trained, rows), only=_only(), test_samples=variants.samples)
    _write_json(output / "manifest.json", {"artifacts": [_manifest(output, row) for row in rows]})
    _write_json(output / "report.json", report.to_json())
    return report


def _compressed(target: str, output: Path, variants: Variants, seed: int) -> list[Variant]:
    """Every recipe that an artifact of this format can go through."""
    made = []
    for builtin in _recipes():
        if builtin.recipe.target in (None, target):
            path = output / f"digits-{builtin.name}.{target}"
            _make(builtin.name, path, output, seed)
            made.append(variants.judge(path, builtin.name))
    return made


def _recipes() -> list[BuiltinRecipe]:
    """Those that an artifact can go through."""
    return [builtin for builtin in builtin_recipes() if not builtin.recipe.from_layers]


def _only() -> dict[str, tuple[str, ...]]:
    found = {target: tuple(one.name for one in _recipes() if one.recipe.target == target) for target in _TARGETS}
    return {target: names for target, names in found.items() if names}


def _make(recipe: str, path: Path, output: Path, seed: int) -> None:
    """Compress the float artifact of the same format: the format was changed and proven once."""
    if recipe != "float32":
        logger.info("compress by %s to %s", recipe, path.suffix.removeprefix("."))
        source = output / f"digits-float32{path.suffix}"
        compress(source, load_recipe(recipe), path, data=output / "calibration.npz", seed=seed)


def _best(trained: Variant, rows: list[Variant]) -> str:
    """The smallest artifact that lost no more than half a point; the fastest of those that are equally small."""
    good = [row for row in rows if row.accuracy >= trained.accuracy - _ALLOWED_DROP] or rows
    return min(good, key=lambda row: (row.size_bytes, row.p50_ms or 0.0)).file


def _write_digits(output: Path, seed: int) -> None:
    """Split the digits: test, calibration and the rest for training; no digit stands in two of them."""
    datasets = require("sklearn.datasets", needed_for="the demo's data")
    digits = datasets.load_digits()
    images = (digits.images[..., None] / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(images))
    cut = int(len(order) * _TEST_SHARE)
    test, calibration, training = np.split(order, [cut, cut + _CALIBRATION_SAMPLES])
    for name, part in (("test", test), ("calibration", calibration), ("training", training)):
        with staged_file(output / f"{name}.npz") as staged:
            np.savez(staged, x=images[part], y=labels[part])


def _train(output: Path, seed: int) -> None:
    keras = require("keras", needed_for="the demo's training")
    keras.utils.set_random_seed(seed)
    with np.load(output / "training.npz") as arrays:
        images, labels = arrays["x"], arrays["y"]
    model = _network(keras)
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, labels, epochs=_EPOCHS, batch_size=32, verbose=0)
    with staged_file(output / "digits.keras") as staged:
        model.save(staged)


def _network(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(64, 3, padding="same", strides=2, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(64, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )


def _manifest(output: Path, row: Variant) -> Any:
    return json.loads((output / f"{row.file}.json").read_text(encoding="utf-8"))


def _write_json(path: Path, document: dict[str, Any]) -> None:
    write_text(path, json.dumps(document, indent=2) + "\n")
