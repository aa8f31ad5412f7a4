"""Text sentiment, from raw reviews to a server that takes raw text."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.compress.commands.variants_view import variants_table
from tinsmith.compress.compression import compress
from tinsmith.compress.passes.finetune import FinetuneStep
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.train import TrainJob, train
from tinsmith.compress.variants import Variants
from tinsmith.convert.bundling import bundle
from tinsmith.convert.data import open_dataset
from tinsmith.convert.data.overview import check_dataset
from tinsmith.devices.benchmarking.benchmark import benchmark_here
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.runtime.commands.output import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.compress.variants import Variant
    from tinsmith.runtime.measurement import Measurement

MOST_WORDS = 512
VOCABULARY = 10_000
BETWEEN_WORDS = r"[^\w']+"
# The seed of the reviews, of the split and of the training.
SEED = 0


def main() -> None:
    """Train, clean, compress to both formats, serve, and print the table."""
    asked = _arguments()
    # what TensorFlow says while it works
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.ERROR)
    output = asked.output
    output.mkdir(parents=True, exist_ok=True)
    reviews = asked.data or write_reviews(output / "reviews", 400 if asked.quick else 1500)
    data = describe(reviews, output)
    report_findings(data)
    model = train_classifier(data, output, epochs=20 if asked.quick else 30)
    variants = Variants(data, None if asked.quick else measure)
    rows = [variants.judge(model, "float32 (trained)")]
    for recipe in ("float32", "int8") if asked.quick else ("float32", "int8", "dynamic-int8"):
        for format_ in ("tflite", "onnx"):
            artifact = output / f"{recipe}.{format_}"
            compress(model, load_recipe(recipe), artifact, data=data)
            rows.append(variants.judge(artifact, recipe))
    console().print(variants_table(rows))
    compare(rows)
    ask_server(output, data, reviews)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="A folder with a folder neg and a folder pos of .txt files.")
    parser.add_argument("--output", type=Path, default=Path("sentiment-output"), help="Where everything is written.")
    parser.add_argument("--quick", action="store_true", help="Fewer reviews and epochs, and no latency.")
    return parser.parse_args()


def describe(reviews: Path, output: Path) -> Path:
    """Write the data.yaml: what is done to a text, in training as on the device, and which part is for what."""
    texts = [words_of(file.read_text()) for file in sorted(reviews.glob("*/*.txt"))]
    counted = Counter(word for text in texts for word in text)
    words = [word for word, _ in counted.most_common(VOCABULARY - 3)]
    (output / "vocabulary.txt").write_text("\n".join(["<PAD>", "<START>", "<UNKNOWN>", *words]) + "\n")
    # nine reviews of ten are read whole
    length = min(MOST_WORDS, sorted(len(text) for text in texts)[len(texts) * 9 // 10])
    data = output / "data.yaml"
    data.write_text(
        f"""source: {json.dumps(str(reviews.absolute()))}
labels: [neg, pos]
preprocess:
  - kind: tokenise
    split: {json.dumps(BETWEEN_WORDS)}
    vocabulary: vocabulary.txt
    start: <START>
    unknown: <UNKNOWN>
  - kind: pad
    length: {length}
split: {{train: 0.7, calibration: 0.05, validation: 0.1, test: 0.15}}
"""
    )
    return data


def words_of(text: str) -> list[str]:
    """As the tokeniser of the data.yaml will see them."""
    return [word for word in re.split(BETWEEN_WORDS, text.lower()) if word]


def report_findings(data: Path) -> None:
    """Say what `tinsmith data check` finds; training, calibration and evaluation leave the same samples out."""
    cleaning = check_dataset(data, seed=SEED).cleaning
    print(f"reviews: {cleaning.samples:,}, usable {cleaning.kept:,}")
    for dropped in cleaning.dropped:
        print(f"left out: {dropped.samples} {dropped.reason}, such as {dropped.examples[0]}")


def train_classifier(data: Path, output: Path, *, epochs: int) -> Path:
    """Embedding, pooling, dense: trained until the validation reviews say that it is enough."""
    import keras

    words = len((output / "vocabulary.txt").read_text().splitlines())
    (length,) = next(open_dataset(data, None).batches(1)).feeds["x"].shape[1:]
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((length,), dtype="int32", name="tokens"),
            layers.Embedding(words, 16),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.3),
            layers.Dense(16, activation="relu"),
            layers.Dense(2, activation="softmax", name="sentiment"),
        ]
    )
    network.save(output / "untrained.keras")
    step = FinetuneStep(epochs=epochs, patience=8, learning_rate=1e-2, batch_size=16)
    job = TrainJob(source=str(output / "untrained.keras"), data=data, output=output / "sentiment.keras", step=step)
    return train(job).output


def measure(artifact: Path) -> Measurement:
    """A few seconds of runs on this machine."""
    return benchmark_here(artifact, Plan(effort=EFFORTS["rapid"].with_runs(30)))


def compare(rows: list[Variant]) -> None:
    """What int8 costs and saves, against float of the same format."""
    found = {(row.format, row.recipe): row for row in rows}
    for format_ in ("tflite", "onnx"):
        float_, int8 = found[format_, "float32"], found[format_, "int8"]
        points = (int8.accuracy - float_.accuracy) * 100
        print(f"{format_}: int8 has {int8.size_bytes / float_.size_bytes:.3f} of the bytes, {points:+.2f} points")


def ask_server(output: Path, data: Path, reviews: Path) -> None:
    """Bundle the int8 artifact with its tokeniser, serve it, and send it reviews as people wrote them."""
    bundle(output / "int8.tflite", output / "sentiment.tin", data=data, name="sentiment")
    examples = [next(iter(sorted((reviews / label).glob("*.txt")))) for label in ("neg", "pos")]
    with served(output / "sentiment.tin") as address:
        for example in examples:
            text = example.read_text()
            request = urllib.request.Request(
                f"{address}/v2/models/sentiment/predict", data=text.encode(), headers={"Content-Type": "text/plain"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                best = json.load(answer)["classes"][0]
            print(f"{example.parent.name}/{example.name} {text[:40]!r}...: {best['label']} ({best['score']:.0%})")


@contextmanager
def served(bundled: Path) -> Iterator[str]:
    """`tinsmith serve` on a free port, for as long as the context lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tinsmith", "serve", f"sentiment={bundled}", "--port", str(port)]
    with subprocess.Popen(command) as server:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_until_ready(address: str, server: subprocess.Popen[bytes]) -> None:
    """Ask until it is."""
    while server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{address}/v2/health/ready", timeout=5):
            return
        time.sleep(0.05)
    sys.exit(f"the server ended with {server.returncode}")


# --- the reviews that it writes itself -------------------------------------------------------------------------------

PRAISE = (
    "wonderful moving clever superb gripping charming brilliant warm witty delightful masterful fresh honest".split()
)
BLAME = "dull clumsy tedious awful shallow lifeless messy bland silly pointless wooden forced tiresome".split()
SUBJECTS = "film story plot acting script cast score camera pacing ending dialogue direction lead villain".split()
SYLLABLES = "ba den fo gir hul ka lem mo nis pra ro sul ta vek wo".split()
# Thousands of words that say nothing, as in real texts; common ones are much more common than rare ones.
FILLER = ["".join(parts) for parts in itertools.product(SYLLABLES, repeat=3)]
OFTEN = [1 / rank for rank in range(1, len(FILLER) + 1)]


def write_reviews(folder: Path, count: int) -> Path:
    """Made-up reviews, and what real collections hold as well: doubles, empty files, one text with two labels."""
    drawn = random.Random(SEED)
    texts = [(label, review(drawn, label)) for label in ("neg", "pos") for _ in range(count // 2)]
    dirt = [*drawn.sample(texts, 8), ("neg", " \n"), ("pos", ""), ("neg", texts[-1][1])]
    for number, (label, text) in enumerate([*texts, *dirt]):
        place = folder / label / f"{number:05}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def review(drawn: random.Random, label: str) -> str:
    """Some sentences, most of them of one mind: some deny the contrary, some say nothing, a few disagree."""
    liked, said = label == "pos", []
    for _ in range(drawn.randint(4, 14)):
        agrees = drawn.random() < 0.72
        words = PRAISE if liked == agrees else BLAME
        kind = drawn.random()
        if kind < 0.45:
            said.append(" ".join(drawn.choices(FILLER, OFTEN, k=drawn.randint(5, 15))))
        elif kind < 0.85:
            said.append(f"the {drawn.choice(SUBJECTS)} is {drawn.choice(words)}")
        else:
            other = BLAME if words is PRAISE else PRAISE
            said.append(f"the {drawn.choice(SUBJECTS)} is never {drawn.choice(other)}")
    return ". ".join(said).capitalize() + "."


if __name__ == "__main__":
    main()
