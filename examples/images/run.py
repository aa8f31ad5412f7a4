"""Image recognition: a trained network learns new classes, is made small, and goes to a board."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.commands.variants_view import variants_table
from tinsmith.compress.compression import compress
from tinsmith.compress.passes.finetune import FinetuneStep
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.train import TrainJob, train
from tinsmith.compress.variants import Variants
from tinsmith.convert.bundling import bundle
from tinsmith.convert.data import open_dataset
from tinsmith.devices.benchmarking.benchmark import benchmark_here
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.runtime.commands.output import console

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.runtime.measurement import Measurement

EDGE = 32
SEED = 0
KNOWN = ("disc", "square", "cross", "ring")
NEW = ("triangle", "bars", "dots")
SPLIT = "split: {train: 0.6, calibration: 0.1, validation: 0.1, test: 0.2}"


def main() -> None:
    """Train on known shapes, learn new ones, compress, flash, and print the table."""
    asked = _arguments()
    output = asked.output
    output.mkdir(parents=True, exist_ok=True)
    # what TensorFlow says while it works
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.ERROR)
    known = describe(write_pictures(output / "known", KNOWN, 200 if asked.quick else 500), output / "known.yaml")
    pictures = asked.data or write_pictures(output / "new", NEW, 40 if asked.quick else 100)
    new = describe(pictures, output / "new.yaml")
    backbone = train_network(known, output, epochs=6 if asked.quick else 12)
    model = learn_new_classes(backbone, new, output, epochs=15 if asked.quick else 25)
    variants = Variants(new, None if asked.quick else measure)
    rows = [variants.judge(model, "float32 (trained)")]
    for recipe in ("float32", "int8") if asked.quick else ("float32", "float16", "dynamic-int8", "int8"):
        artifact = output / f"{recipe}.tflite"
        compress(model, load_recipe(recipe), artifact, data=new)
        rows.append(variants.judge(artifact, recipe))
    console().print(variants_table(rows))
    bundle(output / "int8.tflite", output / "shapes.tin", data=new, name="shapes")
    flash(output, output / "shapes.tin", virtual=not asked.quick)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="The new classes: a folder with one folder of pictures a class.")
    parser.add_argument("--output", type=Path, default=Path("images-output"), help="Where everything is written.")
    parser.add_argument(
        "--quick", action="store_true", help="Fewer pictures and recipes, no latency, no virtual board."
    )
    return parser.parse_args()


def describe(pictures: Path, data: Path) -> Path:
    """Write the data.yaml of a folder of class folders."""
    data.write_text(f"source: {json.dumps(str(pictures.absolute()))}\n{SPLIT}\n")
    return data


def train_network(data: Path, output: Path, *, epochs: int) -> Path:
    """MobileNet in small: depthwise and pointwise convolutions in turn."""
    import keras

    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    inside = [keras.Input((EDGE, EDGE, 3), name="picture"), layers.Rescaling(1 / 127.5, -1)]
    inside += separable(layers, 16, first=True)
    for filters, strides in ((32, 1), (32, 2), (64, 1), (64, 2)):
        inside += separable(layers, filters, strides=strides)
    inside += [layers.GlobalAveragePooling2D(), layers.Dense(len(KNOWN), activation="softmax", name="shape")]
    keras.Sequential(inside).save(output / "untrained.keras")
    step = FinetuneStep(epochs=epochs, learning_rate=5e-3, augment=("flip", "shift"))
    source = str(output / "untrained.keras")
    return train(TrainJob(source=source, data=data, output=output / "backbone.keras", step=step)).output


def separable(layers: Any, filters: int, *, strides: int = 1, first: bool = False) -> list[Any]:
    """A depthwise convolution and a pointwise one; in their place a plain one where the network begins."""
    calm = {"padding": "same", "use_bias": False}
    if first:
        return [layers.Conv2D(filters, 3, strides=2, **calm), layers.BatchNormalization(momentum=0.9), layers.ReLU()]
    return [
        layers.DepthwiseConv2D(3, strides=strides, **calm),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
        layers.Conv2D(filters, 1, **calm),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
    ]


def learn_new_classes(backbone: Path, data: Path, output: Path, *, epochs: int) -> Path:
    """Put a new head on it: it learns the new classes while all that it knows of pictures stays as it is."""
    classes = len(open_dataset(data, None).class_names)
    step = FinetuneStep(epochs=epochs, learning_rate=1e-2, batch_size=16, classes=classes, freeze="backbone")
    return train(TrainJob(source=str(backbone), data=data, output=output / "shapes.keras", step=step)).output


def measure(artifact: Path) -> Measurement:
    """A few seconds of runs on this machine."""
    return benchmark_here(artifact, Plan(effort=EFFORTS["rapid"].with_runs(30)))


def flash(output: Path, bundled: Path, *, virtual: bool) -> None:
    """To a virtual board where this machine can have one, or else to a folder of this machine."""
    inventory = output.absolute() / "devices.toml"
    inventory.unlink(missing_ok=True)
    os.environ["TINSMITH_DEVICES"] = str(inventory)
    if virtual and tinsmith("devices", "up", "shapes-board", "--setup"):
        try:
            tinsmith("flash", bundled, "-d", "shapes-board", "--allow-unsigned")
        finally:
            tinsmith("devices", "down", "shapes-board")
        return
    print("no virtual board: `make boards` brings what they need; a folder of this machine is one instead")
    board = output.absolute() / "board"
    board.mkdir(exist_ok=True)
    tinsmith("devices", "add", "bench", "--profile", "local", "--address", f"local:{board}")
    tinsmith("flash", bundled, "-d", "bench", "--allow-unsigned", "--window", "2")
    tinsmith("status", "-d", "bench", "--check")


def tinsmith(*arguments: str | Path) -> bool:
    """One command, as it is typed; whether it ended well."""
    command = [sys.executable, "-m", "tinsmith", *map(str, arguments)]
    print("$ tinsmith", *arguments, flush=True)
    return subprocess.run(command, check=False).returncode == 0


def write_pictures(folder: Path, shapes: tuple[str, ...], each: int) -> Path:
    """Made-up pictures: shapes of any colour, size and place, on any ground, under noise."""
    from PIL import Image

    drawn = np.random.default_rng(SEED)
    for shape in shapes:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            picture = np.empty((EDGE, EDGE, 3))
            picture[:] = drawn.uniform(0, 110, 3)
            picture[covered(shape, drawn)] = drawn.uniform(140, 255, 3)
            noisy = np.clip(picture + drawn.normal(0, 14, picture.shape), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / shape / f"{number:04}.png")
    return folder


def covered(shape: str, drawn: np.random.Generator) -> NDArray[np.bool_]:
    """Where a shape lies, bool [32, 32]."""
    size = drawn.uniform(6, 11)
    y, x = np.mgrid[:EDGE, :EDGE] - drawn.uniform(size, EDGE - size, 2)[:, None, None]
    away = np.hypot(x, y)
    inside = np.maximum(abs(x), abs(y)) < size
    return {
        "disc": away < size,
        "square": inside,
        "cross": inside & ((abs(x) < size / 3) | (abs(y) < size / 3)),
        "ring": (away < size) & (away > size * 0.6),
        "triangle": inside & (abs(x) < (y + size) / 2),
        "bars": inside & (np.floor(y / 3) % 2 == 0),
        "dots": inside & (np.floor(y / 3) % 2 == 0) & (np.floor(x / 3) % 2 == 0),
    }[shape]


if __name__ == "__main__":
    main()
