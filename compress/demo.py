"""The whole path on one small model: train, compress, prove, evaluate, measure, choose.

The data is scikit-learn's digits (1,797 real handwritten digits of 8x8 pixels), which comes inside that package, so
nothing is downloaded.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import builtin_recipes, load_recipe
from tinsmith.convert.data import open_dataset
from tinsmith.convert.evaluation import Evaluation, evaluate
from tinsmith.convert.frameworks import require
from tinsmith.convert.inspection.sizes import deflated_bytes
from tinsmith.convert.model import identify
from tinsmith.convert.predictors import opened_predictor
from tinsmith.runtime.errors import RecipeError
from tinsmith.runtime.files import staged_file, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.runtime.measurement import Measurement

__all__ = ["DemoReport", "DemoRow", "Measure", "run_demo"]

logger = logging.getLogger(__name__)

_TEST_SHARE = 0.25
_CALIBRATION_SAMPLES = 200
_EPOCHS = 15
# A variant may lose this much accuracy and still be chosen.
_ALLOWED_DROP = 0.005


class Measure(Protocol):
    """Measures how fast an artifact runs on this machine."""

    def __call__(self, artifact: Path) -> Measurement:
        """Load it in processes of its own and time it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRow:
    """One variant of the model.

    Attributes:
        format: ``keras``, ``tflite`` or ``onnx``.
        recipe: What was done to it.
        file: Its name in the output folder.
        size_bytes: Of the file.
        zip_bytes: The same, deflated: what a download costs.
        accuracy: On the test digits, 0 to 1.
        agreement: Share of test digits on which it answers as the float model does, 0 to 1.
        p50_ms: Median run time of one digit; None where it was not measured.
        p90_ms: Nine runs of ten took no longer; None where it was not measured.
    """

    format: str
    recipe: str
    file: str
    size_bytes: int
    zip_bytes: int
    accuracy: float
    agreement: float
    p50_ms: float | None
    p90_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demo found.

    Attributes:
        rows: The float model first, then each variant.
        best: The file that lost next to nothing and is the smallest.
        skipped: Variants that a target does not have, with the reason.
        test_samples: How many digits the accuracy stands on.
    """

    rows: tuple[DemoRow, ...]
    best: str
    skipped: tuple[str, ...]
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
    reference = _evaluate(output / "digits.keras", output)
    rows: list[DemoRow] = []
    skipped: list[str] = []
    for target in ("tflite", "onnx"):
        compress(output / "digits.keras", load_recipe("float32"), output / f"digits-float32.{target}", seed=seed)
        made = _variants(target, output, reference, measure, seed, skipped)
        rows += sorted(made, key=lambda row: -row.size_bytes)
    trained = _row("float32 (trained)", output / "digits.keras", reference, reference, None)
    report = DemoReport(
        rows=(trained, *rows), best=_best(trained, rows), skipped=tuple(skipped), test_samples=reference.samples
    )
    _write_json(output / "manifest.json", {"artifacts": [_manifest(output, row) for row in rows]})
    _write_json(output / "report.json", report.to_json())
    return report


def _variants(
    target: str, output: Path, reference: Evaluation, measure: Measure, seed: int, skipped: list[str]
) -> list[DemoRow]:
    """Every built-in recipe that an artifact can go through; what a target does not have is noted."""
    made = []
    for builtin in builtin_recipes():
        path = output / f"digits-{builtin.name}.{target}"
        if builtin.recipe.from_layers:
            continue
        try:
            _make(builtin.name, path, output, seed)
        except RecipeError as error:
            skipped.append(f"{builtin.name} to {target}: {error.message}")
        else:
            made.append(_row(builtin.name, path, _evaluate(path, output), reference, measure(path)))
    return made


def _make(recipe: str, path: Path, output: Path, seed: int) -> None:
    """Compress the float artifact of the same format: the format was changed and proven once."""
    if recipe != "float32":
        logger.info("compress by %s to %s", recipe, path.suffix.removeprefix("."))
        source = output / f"digits-float32{path.suffix}"
        compress(source, load_recipe(recipe), path, data=output / "calibration.npz", seed=seed)


def _row(recipe: str, path: Path, found: Evaluation, reference: Evaluation, timed: Measurement | None) -> DemoRow:
    return DemoRow(
        format=identify(path).format,
        recipe=recipe,
        file=path.name,
        size_bytes=path.stat().st_size,
        zip_bytes=deflated_bytes(path),
        accuracy=found.accuracy,
        agreement=found.agreement(reference),
        p50_ms=timed.p50_ms if timed else None,
        p90_ms=timed.p90_ms if timed else None,
    )


def _evaluate(path: Path, output: Path) -> Evaluation:
    with opened_predictor(identify(path)) as predictor:
        return evaluate(predictor, open_dataset(output / "test.npz", predictor.inputs))


def _best(trained: DemoRow, rows: list[DemoRow]) -> str:
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


def _manifest(output: Path, row: DemoRow) -> Any:
    return json.loads((output / f"{row.file}.json").read_text(encoding="utf-8"))


def _write_json(path: Path, document: dict[str, Any]) -> None:
    write_text(path, json.dumps(document, indent=2) + "\n")
