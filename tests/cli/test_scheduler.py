"""``--scheduler``: samples divided among the workers of a cluster."""

import json

import numpy as np
import pytest

from tinsmith.convert.calibration import load_calibration


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((200, 4), np.float32), y=rng.integers(0, 3, 200))
    return tmp_path / "d.npz"


def test_a_divided_calibration_is_saved_and_shown_as_that_of_one_machine(golden, data, cli, dask_cluster):
    shown = [
        cli("calibrate", golden / "dense.tflite", "--data", data, "-o", name, *more)
        for name, more in (("one.npz", []), ("two.npz", ["--scheduler", dask_cluster.scheduler_address]))
    ]

    assert shown[0] == shown[1]
    assert shown[0][0] == 0
    assert load_calibration(data.parent / "one.npz").extremes == load_calibration(data.parent / "two.npz").extremes


def test_a_divided_evaluation_says_what_one_machine_says(golden, data, cli, dask_cluster):
    models = [golden / "dense.tflite", golden / "dense.onnx"]
    code, alone, _ = cli("evaluate", *models, "--data", data, "--format", "json")
    assert code == 0

    code, out, err = cli(
        "evaluate", *models, "--data", data, "--format", "json", "--scheduler", dask_cluster.scheduler_address
    )

    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(alone)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["calibrate", "dense.onnx", "-o", "r.npz", "--part", "1/2", "--scheduler", "tcp://127.0.0.1:9"], 2, "--part"),
        (["evaluate", "dense.onnx", "-d", "pi4", "--scheduler", "tcp://127.0.0.1:9"], 2, "two places"),
        (["search", "dense.onnx", "-o", "run", "--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], 2, "dask worker"),
        (["search", "dense.onnx", "-o", "run", "--scheduler", "tcp://127.0.0.1:9"], 3, "no scheduler answers"),
        (["evaluate", "dense.onnx", "--scheduler", "127.0.0.1"], 2, "tcp://HOST:PORT"),
        (["evaluate", "dense.onnx", "--scheduler", "tcp://127.0.0.1:9"], 3, "no scheduler answers"),
    ],
)
def test_what_can_not_be_done_is_said(golden, data, cli, arguments, code, said, monkeypatch):
    monkeypatch.setattr("tinsmith.convert.cluster._CONNECT_S", 0.2)
    command, model, *rest = arguments

    found, out, err = cli(command, golden / model, "--data", data, *rest)

    assert (found, out) == (code, "")
    assert said in err
    assert not (data.parent / "run").exists()
