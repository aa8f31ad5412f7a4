"""``tinsmith evaluate``: metrics and the table of classes."""

import json

import numpy as np
import pytest


@pytest.fixture
def data(tmp_path):
    """Sixty images with labels of three classes that have names."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((60, 8, 8, 1), np.float32), y=rng.integers(0, 3, 60))
    (tmp_path / "data.yaml").write_text("source: d.npz\nlabels: [left, right, '[odd]']\n")
    return tmp_path / "data.yaml"


def test_the_table_of_classes_has_the_worst_first_and_fits(golden, data, cli):
    models = [golden / "cnn.tflite", golden / "cnn_int8.tflite"]
    code, out, err = cli("evaluate", *models, "--data", data)

    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    assert "[odd]" in out
    assert "points against the first" in out

    code, out, _ = cli("evaluate", *models, "--data", data, "--format", "json")
    first, second = json.loads(out)["evaluations"]
    assert {c["name"] for c in first["classes"]} == {"left", "right", "[odd]"}
    assert second["agreement"] > 0.5
    assert first["metric"] == "accuracy"


@pytest.mark.parametrize("metric", ["top-2", "auc", "map"])
def test_another_metric_names_its_column(golden, data, cli, metric):
    code, out, _ = cli("evaluate", golden / "cnn.tflite", "--data", data, "--metric", metric)
    assert code == 0
    assert metric in out

    _, out, _ = cli("evaluate", golden / "cnn.tflite", "--data", data, "--metric", metric, "--format", "json")
    (found,) = json.loads(out)["evaluations"]
    assert found["metric"] == metric
    assert 0 <= found["score"] <= 1
    assert "accuracy" in found


def test_a_metric_that_does_not_exist_or_fit_is_an_error_of_usage(golden, data, cli):
    for metric, said in (("acuracy", "there is no metric"), ("mae", "compares numbers"), ("top-5", "always right")):
        code, out, err = cli("evaluate", golden / "cnn.tflite", "--data", data, "--metric", metric)
        assert (code, out) == (2, "")
        assert said in err


def test_a_function_of_ones_own_judges(golden, data, cli, tmp_path):
    (tmp_path / "mine_for_evaluate.py").write_text("def seven(answers, truth):\n    return 7\n")
    code, out, _ = cli("evaluate", golden / "cnn.tflite", "--data", data, "--metric", "mine_for_evaluate:seven")

    assert code == 0
    assert "7" in out


def test_a_device_stands_beside_this_machine(golden, data, cli):
    model = golden / "cnn_int8.tflite"
    code, out, _ = cli("evaluate", model, "--data", data, "-d", "local")

    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert "the numbers of 0 of 60 samples differ" in out

    _, out, _ = cli("evaluate", model, "--data", data, "-d", "local", "--format", "json")
    (found,) = json.loads(out)["evaluations"]
    (there,) = found["devices"]
    assert there["evaluation"]["score"] == found["score"]
    assert (there["samples"], there["other_answers"], there["error"]) == (60, 0, None)


def test_a_device_that_nobody_answers_for_costs_nothing_but_itself(golden, data, cli, tmp_path):
    (tmp_path / "devices.toml").write_text('[devices.gone]\nprofile = "pi4"\naddress = "ssh://pi@127.0.0.1:1"\n')

    code, out, _ = cli("evaluate", golden / "cnn_int8.tflite", "--data", data, "-d", "gone", "--format", "json")

    (found,) = json.loads(out)["evaluations"]
    assert code == 5
    assert found["samples"] == 60
    assert found["devices"][0]["error"]["code"] == "unreachable"


def test_a_trained_model_answers_on_no_device(golden, data, cli):
    code, out, err = cli("evaluate", golden / "cnn.keras", "--data", data, "-d", "local")

    assert (code, out) == (2, "")
    assert "convert it first" in err
