"""``tinsmith compress`` with a budget: exit codes, and what is said of each bound."""

import json

import numpy as np
import pytest

from tinsmith.convert.model import identify
from tinsmith.convert.predictors import opened_predictor


@pytest.fixture
def close_calls(golden, tmp_path):
    """Samples with the float model's own answers as labels, of which int8 gives one in 300 otherwise."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (300, 8, 8, 1)) * rng.uniform(0, 8, (300, 1, 1, 1)) + rng.normal(0, 3, (300, 1, 1, 1))
    with opened_predictor(identify(golden / "cnn.tflite")) as model:
        (scores,) = model.run({model.inputs[0].name: x.astype(np.float32)}).values()
    np.savez(tmp_path / "d.npz", x=x.astype(np.float32), y=scores.argmax(axis=1), camera=np.arange(300) % 7)
    (tmp_path / "data.yaml").write_text("source: d.npz\nslices: camera\n")
    return tmp_path / "data.yaml"


def int8(golden, data):
    """The recipe as it is; the ladder has tests of its own."""
    once = ["--max-trials", "1"]
    return ["compress", golden / "cnn.tflite", "-r", "int8", "--data", data, "-o", "x.tflite", "-q", *once]


def test_a_missed_budget_is_exit_1_with_the_report_and_the_artifact(golden, close_calls, cli, tmp_path):
    code, out, err = cli(
        *int8(golden, close_calls), "--max-drop", "0", "--max-class-drop", "90pt", "--min-agreement", "100%"
    )

    assert code == 1
    assert (tmp_path / "x.tflite").exists()
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("MISSED") == 2
    assert "max-class-drop  kept" in out
    assert "camera=" in out
    assert "--max-drop: accuracy loses" in err
    assert "--min-agreement: 99." in err
    assert "--max-class-drop" not in err


def test_json_says_it_in_one_document(golden, close_calls, cli):
    code, out, err = cli(*int8(golden, close_calls), "--max-drop", "0%", "--format", "json")

    (verdict,) = json.loads(out)["compression"]["budget"]
    assert (code, err) == (1, "")
    assert (verdict["bound"], verdict["missed"]) == ("max-drop", True)
    slices = json.loads(out)["compression"]["moved"]["accuracy"]["slices"]
    assert sum(one["samples"] for one in slices) == 300
    assert [one["change"] for one in slices] == sorted(one["change"] for one in slices)


def test_a_kept_budget_is_exit_0(golden, close_calls, cli):
    code, out, err = cli(*int8(golden, close_calls), "--max-drop", "5%", "--min-agreement", "0.95")

    assert (code, err) == (0, "")
    assert out.count("kept: ") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-drop", "5"], "--max-drop: 5 lies outside 0 to 1; 5 points are 5%"),
        (["--min-agreement", "most"], "--min-agreement: 'most' is no share"),
        (["--max-drop", "1%"], "no samples with labels"),
        (["--min-agreement", "95%"], "no samples to judge by"),
    ],
)
def test_a_budget_that_cannot_be_held_is_exit_2_and_nothing_is_written(golden, cli, tmp_path, options, said):
    code, out, err = cli("compress", golden / "cnn.tflite", "-r", "dynamic-int8", "-o", tmp_path / "x.tflite", *options)

    assert (code, out) == (2, "")
    assert said in err
    assert not list(tmp_path.glob("x.tflite*"))


def test_evaluate_shows_slices_with_the_worst_first(golden, close_calls, cli):
    models = [golden / "cnn.tflite", golden / "cnn_int8.tflite"]
    code, out, _ = cli("evaluate", *models, "--data", close_calls)

    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert "Slices of cnn_int8.tflite, largest loss first" in out

    _, out, _ = cli("evaluate", *models, "--data", close_calls, "--format", "json")
    first, second = json.loads(out)["evaluations"]
    assert [one["slice"] for one in first["slices"]] == [str(n) for n in range(7)]
    changes = [one["change"] for one in second["lost"]["slices"]]
    assert changes == sorted(changes)
