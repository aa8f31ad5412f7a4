"""What somebody will want next: a sequence of items in, the next item out."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.commands.variants_view import variants_table
from tinsmith.compress.compression import compress
from tinsmith.compress.passes.finetune import FinetuneStep
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.train import TrainJob, train
from tinsmith.compress.variants import Variants
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.devices.benchmarking.benchmark import benchmark_here
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.runtime.commands.output import console

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.runtime.measurement import Measurement

HISTORY = 8
WIDTH = 32
SEED = 0


def main() -> None:
    """Train, compress to both formats, and print the table."""
    asked = _arguments()
    output = asked.output
    output.mkdir(parents=True, exist_ok=True)
    # what TensorFlow says while it works
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.ERROR)
    training, test = split(*(read(asked.data) if asked.data else visits(4000 if asked.quick else 20_000)), output)
    model = train_recommender(training, output, epochs=4 if asked.quick else 8)
    variants = Variants(test, None if asked.quick else measure)
    made = [(model, "float32 (trained)")]
    for recipe in ("float32", "int8") if asked.quick else ("float32", "float16", "dynamic-int8", "int8"):
        for format_ in ("tflite", "onnx"):
            artifact = output / f"{recipe}.{format_}"
            compress(model, load_recipe(recipe), artifact, data=training)
            made.append((artifact, recipe))
    console().print(variants_table([variants.judge(*one) for one in made]))
    first, last = evaluate_models([model, made[-2][0]], test, metric="top-5")
    print(f"the next item is among the first five: {first.text} trained, {last.text} as {made[-2][1]}.tflite")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, help=f"An .npz: x, int [n, {HISTORY}], items from 1, 0 for none; y, int [n]."
    )
    parser.add_argument("--output", type=Path, default=Path("recommendation-output"), help="Where all is written.")
    parser.add_argument("--quick", action="store_true", help="Fewer visits and recipes, and no latency.")
    return parser.parse_args()


def visits(count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Made-up visits to a shop of 400 items: most go on to what goes with the last item, one step in ten is any."""
    drawn = np.random.default_rng(SEED)
    items = 400
    goes_with = drawn.permutation(items)
    path = np.zeros((count, HISTORY + 1), np.int32)
    path[:, 0] = drawn.integers(0, items, count)
    for at in range(1, HISTORY + 1):
        foreseen = drawn.random(count) < 0.9
        path[:, at] = np.where(foreseen, goes_with[path[:, at - 1]], drawn.integers(0, items, count))
    history = path[:, :HISTORY] + 1
    short = drawn.integers(0, HISTORY - 1, count)
    history[np.arange(HISTORY) < short[:, None]] = 0
    return history.astype(np.int32), path[:, HISTORY].astype(np.int64) + 1


def read(path: Path) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Visits of your own."""
    with np.load(path) as arrays:
        return arrays["x"].astype(np.int32), arrays["y"].astype(np.int64)


def split(histories: NDArray[np.int32], following: NDArray[np.int64], output: Path) -> tuple[Path, Path]:
    """Put one visit in five aside."""
    order = np.random.default_rng(SEED).permutation(len(histories))
    cut = len(order) // 5
    for name, part in (("test", order[:cut]), ("train", order[cut:])):
        np.savez(output / f"{name}.npz", x=histories[part], y=following[part])
    return output / "train.npz", output / "test.npz"


def train_recommender(data: Path, output: Path, *, epochs: int) -> Path:
    """Two towers: one makes a vector of a history, the other one of each item; their product says what comes next."""
    import keras

    with np.load(data) as arrays:
        items = int(max(arrays["x"].max(), arrays["y"].max())) + 1
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    history = keras.Input((HISTORY,), dtype="int32", name="history")
    seen = layers.Embedding(items, WIDTH)(history)
    mixed = layers.Flatten()(layers.Conv1D(WIDTH, 3, padding="same", activation="relu")(seen))
    visitor = layers.Dense(WIDTH, activation="relu", name="visitor")(mixed)
    following = layers.Dense(items, activation="softmax", name="items")(visitor)
    keras.Model(history, following).save(output / "untrained.keras")
    step = FinetuneStep(epochs=epochs, learning_rate=1e-2, batch_size=128)
    source = str(output / "untrained.keras")
    return train(TrainJob(source=source, data=data, output=output / "recommender.keras", step=step)).output


def measure(artifact: Path) -> Measurement:
    """A few seconds of runs on this machine."""
    return benchmark_here(artifact, Plan(effort=EFFORTS["rapid"].with_runs(30)))


if __name__ == "__main__":
    main()
