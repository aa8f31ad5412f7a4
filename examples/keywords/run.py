"""Keyword spotting: features of one second of sound in, the word that was said out."""

from __future__ import annotations

import argparse
import logging
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.compress.commands.variants_view import variants_table
from tinsmith.compress.compression import compress
from tinsmith.compress.passes.finetune import FinetuneStep
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.train import TrainJob, train
from tinsmith.compress.variants import Variants
from tinsmith.devices.benchmarking.benchmark import benchmark_here
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.runtime.commands.output import console

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.runtime.measurement import Measurement

RATE_HZ = 8_000
FRAMES, BANDS = 49, 10
SEED = 0
# What stands for words here: where two resonances of a voice begin and end, in Hz.
WORDS = {
    "up": ((300, 700), (900, 2200)),
    "down": ((700, 300), (2200, 900)),
    "yes": ((400, 400), (2600, 1500)),
    "no": ((500, 350), (900, 900)),
    "go": ((600, 600), (1200, 2000)),
}
UNKNOWN, SILENCE = len(WORDS), len(WORDS) + 1


def main() -> None:
    """Train, compress to both formats, and print the table."""
    asked = _arguments()
    output = asked.output
    output.mkdir(parents=True, exist_ok=True)
    # what TensorFlow says while it works
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.ERROR)
    training, test = split(*(read(asked.data) if asked.data else recordings(700 if asked.quick else 2500)), output)
    model = train_spotter(training, output, epochs=8 if asked.quick else 20)
    variants = Variants(test, None if asked.quick else measure)
    rows = [variants.judge(model, "float32 (trained)")]
    for recipe in ("float32", "int8") if asked.quick else ("float32", "float16", "int8", "half-int8"):
        for format_ in ("tflite", "onnx"):
            if (recipe, format_) != ("half-int8", "onnx"):
                artifact = output / f"{recipe}.{format_}"
                compress(model, load_recipe(recipe), artifact, data=training)
                rows.append(variants.judge(artifact, recipe))
    console().print(variants_table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help=f"An .npz: x [n, {FRAMES}, {BANDS}, 1], y [n].")
    parser.add_argument("--output", type=Path, default=Path("keywords-output"), help="Where everything is written.")
    parser.add_argument("--quick", action="store_true", help="Fewer recordings and recipes, and no latency.")
    return parser.parse_args()


def recordings(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Made-up recordings: five words by many voices under noise, other sounds, and silence."""
    drawn = np.random.default_rng(SEED)
    labels = drawn.integers(0, SILENCE + 1, count)
    sounds = np.stack([spoken(int(label), drawn) for label in labels])
    return features(sounds), labels


def spoken(label: int, drawn: np.random.Generator) -> NDArray[np.float64]:
    """One second of sound, 8,000 samples."""
    noise = drawn.normal(0, drawn.uniform(0.02, 0.12), RATE_HZ)
    if label == SILENCE:
        return noise
    ways = list(WORDS.values())[label] if label < UNKNOWN else tuple(map(tuple, drawn.uniform(250, 2800, (2, 2))))
    voice, begins, lasts = drawn.uniform(0.85, 1.18), drawn.uniform(0.05, 0.4), drawn.uniform(0.35, 0.55)
    at = np.arange(RATE_HZ) / RATE_HZ
    through = np.clip((at - begins) / lasts, 0, 1)
    loud = np.sin(np.pi * through) * drawn.uniform(0.4, 1.0)
    for start_hz, end_hz in ways:
        hz = voice * (start_hz + (end_hz - start_hz) * through)
        noise = noise + loud * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)
    return noise


def features(sounds: NDArray[np.float64]) -> NDArray[np.float32]:
    """How loud ten bands are in 49 windows of 40 ms, float32 [n, 49, 10, 1]; high bands are wider."""
    width, hop = RATE_HZ * 40 // 1000, RATE_HZ * 20 // 1000
    windows = np.lib.stride_tricks.sliding_window_view(sounds, width, axis=1)[:, ::hop][:, :FRAMES]
    power = np.abs(np.fft.rfft(windows * np.hanning(width), axis=2)) ** 2
    edges = np.geomspace(150, RATE_HZ / 2, BANDS + 1) * width // RATE_HZ
    bands = [power[..., int(low) : max(int(low) + 1, int(high))].mean(axis=2) for low, high in pairwise(edges)]
    return np.log(np.stack(bands, axis=2) + 1e-3).astype(np.float32)[..., None]


def read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of your own; integers with a scale and a zero point are turned into what they stand for."""
    with np.load(path) as arrays:
        x = arrays["x"].astype(np.float32)
        if "scale" in arrays:
            x = (x - np.float32(arrays["zero_point"])) * np.float32(arrays["scale"])
        return x, arrays["y"].astype(np.int64)


def split(samples: NDArray[np.float32], labels: NDArray[np.int64], output: Path) -> tuple[Path, Path]:
    """Put one recording in five aside."""
    order = np.random.default_rng(SEED).permutation(len(samples))
    cut = len(order) // 5
    for name, part in (("test", order[:cut]), ("train", order[cut:])):
        np.savez(output / f"{name}.npz", x=samples[part], y=labels[part])
    return output / "train.npz", output / "test.npz"


def train_spotter(data: Path, output: Path, *, epochs: int) -> Path:
    """A small DS-CNN, as MLPerf Tiny's."""
    import keras

    with np.load(data) as arrays:
        words, low, high = int(arrays["y"].max()) + 1, float(arrays["x"].min()), float(arrays["x"].max())
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    parts = [
        keras.Input((FRAMES, BANDS, 1), name="features"),
        layers.Rescaling(1 / (high - low), -low / (high - low)),
        layers.Conv2D(32, (10, 4), strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
    ]
    for _ in range(2):
        parts += [layers.DepthwiseConv2D(3, padding="same", use_bias=False), layers.BatchNormalization(momentum=0.9)]
        parts += [
            layers.ReLU(),
            layers.Conv2D(32, 1, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
        ]
    parts += [layers.GlobalAveragePooling2D(), layers.Dense(words, activation="softmax", name="word")]
    keras.Sequential(parts).save(output / "untrained.keras")
    step = FinetuneStep(epochs=epochs, learning_rate=5e-3, batch_size=64)
    source = str(output / "untrained.keras")
    return train(TrainJob(source=source, data=data, output=output / "spotter.keras", step=step)).output


def measure(artifact: Path) -> Measurement:
    """A few seconds of runs on this machine."""
    return benchmark_here(artifact, Plan(effort=EFFORTS["rapid"].with_runs(30)))


if __name__ == "__main__":
    main()
