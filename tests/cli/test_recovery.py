"""The ladder from the shell: a budget that the recipe misses and another one keeps."""

import json

import numpy as np
import pytest

from tinsmith.convert.model import identify
from tinsmith.convert.predictors import opened_predictor


@pytest.fixture
def samples(golden, tmp_path):
    """Inputs whose answers lie close together, and the float model's answers as labels."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (300, 8, 8, 1)) * rng.uniform(0, 8, (300, 1, 1, 1)) + rng.normal(0, 3, (300, 1, 1, 1))
    x = x.astype(np.float32)
    with opened_predictor(identify(golden / "cnn.tflite")) as model:
        (scores,) = model.run({model.inputs[0].name: x}).values()
    np.savez(tmp_path / "d.npz", x=x, y=scores.argmax(axis=1))
    return tmp_path / "d.npz"


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_a_rung_keeps_a_budget_that_the_recipe_misses_and_its_recipe_gives_the_same_bytes(
    golden, samples, cli, tmp_path, suffix
):
    source = golden / f"cnn.{suffix}"
    bound = ["--min-agreement", "100%"]
    code, out, _ = cli(
        "compress", source, "-r", "int8", "--data", samples, "-o", f"x.{suffix}", "-q", *bound, "--format", "json"
    )
    found = json.loads(out)["compression"]["recovery"]

    assert (code, found["met"]) == (0, True)
    assert not found["trials"][0]["met"]
    assert all(trial["agreement"] < 1 for trial in found["trials"][:-1] if trial["agreement"] is not None)
    assert not (tmp_path / f"x.{suffix}.work").exists()

    (tmp_path / "found.yaml").write_text(json.dumps(found["recipe"]))
    code, _, _ = cli("compress", source, "-r", "found.yaml", "--data", samples, "-o", f"again.{suffix}", "-q")
    assert code == 0
    assert (tmp_path / f"again.{suffix}").read_bytes() == (tmp_path / f"x.{suffix}").read_bytes()


def test_the_table_says_what_was_tried_and_what_it_would_take(golden, samples, cli):
    code, out, err = cli(
        "compress", golden / "cnn.tflite", "-r", "int8", "--data", samples, "-o", "x.tflite", "-q",
        "--min-agreement", "100%", "--max-trials", "2",
    )  # fmt: skip

    assert code == 1
    assert max(map(len, out.splitlines())) <= 100
    assert "percentile ranges" in out
    said = " ".join(out.split())
    assert "2 recipes were tried, which is --max-trials" in said
    assert "It would take a larger --max-trials, which leaves room for other ways, or a looser budget" in said
    assert "or the trained model with labelled samples, 200 of them to judge by" in said  # a .tflite can't be trained
    assert "the budget was missed" in err
