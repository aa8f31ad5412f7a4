"""A small transformer encoder, its matrices in 8 and in 4 bits."""

from __future__ import annotations

import argparse
import logging
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from tinsmith.runtime.measurement import Measurement

LENGTH = 16
WIDTH = 128
HEADS = 4
SEED = 0


def main() -> None:
    """Train, compress to both formats, and print the table."""
    asked = _arguments()
    output = asked.output
    output.mkdir(parents=True, exist_ok=True)
    # what TensorFlow says while it works
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.ERROR)
    table = asked.data or write_requests(output / "requests.csv", 1500 if asked.quick else 4000)
    data = describe(table, output)
    model = train_encoder(data, output, blocks=1 if asked.quick else 2, epochs=4 if asked.quick else 8)
    variants = Variants(data, None if asked.quick else measure)
    rows = [variants.judge(model, "float32 (trained)")]
    for format_ in ("tflite", "onnx"):
        for recipe in ("float32", "int8-weights", "int4-weights"):
            artifact = output / f"{recipe}.{format_}"
            compress(model, load_recipe(recipe), artifact)
            rows.append(variants.judge(artifact, recipe))
    console().print(variants_table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="A .csv with the columns text and label.")
    parser.add_argument("--output", type=Path, default=Path("transformer-output"), help="Where everything is written.")
    parser.add_argument("--quick", action="store_true", help="One block, fewer requests, and no latency.")
    return parser.parse_args()


NAMES = "anna bert clara david emil frieda georg hanna igor jana karl lena".split()
FORMS = {
    "call": ["call {a}", "ring {a} for {b}", "get {a} on the phone not {b}"],
    "send": ["send {a} the file of {b}", "mail {a} what {b} wrote", "let {a} have the file of {b}"],
    "fetch": ["fetch the file of {a} for {b}", "get what {a} wrote to {b}", "bring {b} the file of {a}"],
    "meet": ["meet {a} and {b} at noon", "lunch with {a} not with {b}", "see {a} at noon"],
    "cancel": ["do not call {a}", "do not meet {a} and {b}", "no file of {b} for {a}"],
}


def write_requests(path: Path, count: int) -> Path:
    """Made-up requests of five kinds, told apart by their words and by the order of them."""
    drawn = random.Random(SEED)
    lines = ["text,label"]
    for _ in range(count):
        kind = drawn.choice(list(FORMS))
        a, b = drawn.sample(NAMES, 2)
        polite = drawn.choice(["please ", "could you ", "", "now "])
        lines.append(
            f"{polite}{drawn.choice(FORMS[kind]).format(a=a, b=b)}{drawn.choice([' today', ' at once', ''])},{kind}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def describe(table: Path, output: Path) -> Path:
    """The words of the table, in the order of the alphabet, and what is done to a text."""
    texts = [line.rpartition(",")[0].lower().split() for line in table.read_text().splitlines()[1:]]
    words = sorted({word for text in texts for word in text})
    (output / "vocabulary.txt").write_text("\n".join(["<PAD>", "<UNKNOWN>", *words]) + "\n")
    data = output / "data.yaml"
    data.write_text(
        f"""source: {table.absolute()}
preprocess:
  - {{kind: tokenise, vocabulary: vocabulary.txt, unknown: <UNKNOWN>}}
  - {{kind: pad, length: {LENGTH}}}
split: {{train: 0.8, validation: 0.1, test: 0.1}}
"""
    )
    return data


def train_encoder(data: Path, output: Path, *, blocks: int, epochs: int) -> Path:
    """Words and their neighbours in, attention and a feed-forward network a block, the kind of request out."""
    import keras

    from tinsmith.convert.data import open_dataset

    words = len((output / "vocabulary.txt").read_text().splitlines())
    kinds = len(open_dataset(data, None).class_names)
    keras.utils.set_random_seed(SEED)
    tokens = keras.Input((LENGTH,), dtype="int32", name="tokens")
    shown = keras.layers.Embedding(words, WIDTH)(tokens)
    # a convolution tells neighbours apart, so that the order of words counts
    shown = keras.layers.Add()([shown, keras.layers.Conv1D(WIDTH, 3, padding="same")(shown)])
    for _ in range(blocks):
        shown = block(keras, shown)
    pooled = keras.layers.GlobalAveragePooling1D()(shown)
    scores = keras.layers.Dense(kinds, activation="softmax", name="kind")(pooled)
    keras.Model(tokens, scores).save(output / "untrained.keras")
    step = FinetuneStep(epochs=epochs, learning_rate=1e-3, batch_size=64)
    source = str(output / "untrained.keras")
    return train(TrainJob(source=source, data=data, output=output / "encoder.keras", step=step)).output


def block(keras: Any, shown: Any) -> Any:
    """One block of an encoder, normalised before each part."""
    layers = keras.layers
    calm = layers.LayerNormalization()(shown)
    shown = layers.Add()([shown, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(calm, calm)])
    calm = layers.LayerNormalization()(shown)
    return layers.Add()([shown, layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, activation="relu")(calm))])


def measure(artifact: Path) -> Measurement:
    """A few seconds of runs on this machine."""
    return benchmark_here(artifact, Plan(effort=EFFORTS["rapid"].with_runs(30)))


if __name__ == "__main__":
    main()
