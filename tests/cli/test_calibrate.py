"""``tinsmith calibrate``, ``tinsmith ranges``, and recipes that take what they give."""

import json

import numpy as np
import pytest

from tinsmith.convert.calibration import METHOD_NAMES, load_calibration


@pytest.fixture
def data(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((24, 8, 8, 1), np.float32))
    return tmp_path / "d.npz"


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_what_workers_found_in_parts_is_what_one_finds_in_all(golden, data, cli, tmp_path, suffix):
    model = golden / f"cnn.{suffix}"
    assert cli("calibrate", model, "--data", data, "-o", "all.npz")[0] == 0
    for number in (1, 2, 3):
        assert cli("calibrate", model, "--data", data, "-o", f"{number}.npz", "--part", f"{number}/3")[0] == 0
    assert cli("ranges", "merge", "1.npz", "2.npz", "3.npz", "-o", "merged.npz")[0] == 0

    found = {}
    for name in ("all", "merged"):
        code, out, _ = cli("ranges", "show", f"{name}.npz", "--format", "json")
        assert code == 0
        found[name] = json.loads(out)["calibration"]
    assert found["merged"]["samples"] == 24
    for one, other in zip(found["all"]["methods"], found["merged"]["methods"], strict=True):
        if one["method"] != "moving-average":
            assert [(t["low"], t["high"]) for t in one["tensors"]] == [(t["low"], t["high"]) for t in other["tensors"]]


def test_the_same_again_gives_the_same_file(golden, data, cli, tmp_path):
    for name in ("a.npz", "b.npz"):
        assert cli("calibrate", golden / "cnn.onnx", "--data", data, "-o", name)[0] == 0

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_the_tables_fit_and_name_every_method_and_tensor(golden, data, cli, tmp_path):
    _, made, err = cli("calibrate", golden / "cnn.tflite", "--data", data, "-o", "r.npz")
    code, out, _ = cli("ranges", "show", "r.npz", "--method", "entropy")

    assert (code, err) == (0, "")
    assert made in out
    assert max(map(len, out.splitlines())) <= 100
    assert all(name in out for name in METHOD_NAMES)
    assert "12 to 24 samples" in out
    # names wider than their column are folded
    folded = out.replace("\n", "").replace(" ", "")
    assert all(name[:20] in folded for name in load_calibration(tmp_path / "r.npz").tensors)


@pytest.mark.parametrize(
    ("suffix", "method"),
    [("tflite", "min-max"), ("tflite", "mse"), ("onnx", "moving-average"), ("onnx", "percentile"), ("onnx", "entropy")],
)
def test_saved_ranges_make_the_artifact_that_samples_make(golden, data, cli, tmp_path, suffix, method):
    model = golden / f"cnn.{suffix}"
    recipe = ["-r", "int8", "--set", f"steps.0.calibration={method}", "--format", "json"]
    cli("calibrate", model, "--data", data, "-o", "r.npz")

    code, out, _ = cli("compress", model, *recipe, "--data", data, "-o", f"samples.{suffix}")
    assert code == 0
    measured = json.loads(out)["compression"]["passes"][-1]["measured"]
    assert (measured["calibration"], measured["calibration samples"]) == (method, 24)
    assert "between 12 and 24 samples" in measured["stability"]
    assert cli("compress", model, *recipe, "--set", "steps.0.ranges=r.npz", "-o", f"saved.{suffix}")[0] == 0

    assert (tmp_path / f"samples.{suffix}").read_bytes() == (tmp_path / f"saved.{suffix}").read_bytes()


def test_methods_make_different_artifacts(golden, cli, tmp_path):
    x = np.random.default_rng(0).random((24, 8, 8, 1), np.float32)
    x[0, 0, 0] = 6
    np.savez("outlier.npz", x=x)
    for method in ("min-max", "mse", "moving-average"):
        recipe = ["-r", "int8", "--set", f"steps.0.calibration={method}", "--force", "parity"]
        assert (
            cli("compress", golden / "cnn.tflite", *recipe, "--data", "outlier.npz", "-o", f"{method}.tflite")[0] == 0
        )

    contents = {(tmp_path / f"{m}.tflite").read_bytes() for m in ("min-max", "mse", "moving-average")}
    assert len(contents) == 3


def test_ranges_of_another_model_are_refused(golden, data, cli, tmp_path):
    cli("calibrate", golden / "cnn.onnx", "--data", data, "-o", "r.npz")

    code, _, err = cli(
        "compress", golden / "dense.onnx", "-r", "int8", "--set", "steps.0.ranges=r.npz", "-o", "small.onnx"
    )

    assert code == 2
    assert "calibration of another model" in err
    assert not (tmp_path / "small.onnx").exists()


def test_calibrations_of_different_models_do_not_merge(golden, data, cli, tmp_path):
    cli("calibrate", golden / "cnn.onnx", "--data", data, "-o", "a.npz")
    cli("calibrate", golden / "cnn.tflite", "--data", data, "-o", "b.npz")

    code, _, err = cli("ranges", "merge", "a.npz", "b.npz", "-o", "c.npz")

    assert code == 2
    assert "b.npz can't be merged" in err
    assert not (tmp_path / "c.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["calibrate", "cnn.keras", "--data", "d.npz", "-o", "r.npz"], 2, "tinsmith convert"),
        (["calibrate", "cnn_int8.tflite", "--data", "d.npz", "-o", "r.npz"], 2, "quantized already"),
        (["calibrate", "cnn.onnx", "--data", "missing.npz", "-o", "r.npz"], 2, "missing.npz"),
        (["calibrate", "cnn.onnx", "--data", "d.npz", "-o", "no/r.npz"], 3, "cannot write"),
        (["calibrate", "cnn.onnx", "--data", "d.npz", "-o", "r.npz", "--part", "5/4"], 2, "no part 5 of 4"),
        (["calibrate", "cnn.onnx", "--data", "d.npz", "-o", "r.npz", "--part", "half"], 2, "--part takes K/N"),
        (["calibrate", "cnn.onnx", "--data", "d.npz", "-o", "r.npz", "--part", "1/30"], 2, "part 1 of 30 is empty"),
        (["ranges", "show", "missing.npz"], 2, "cannot read the calibration"),
        (["ranges", "show", "d.npz"], 2, "no calibration"),
        (["ranges", "show", "d.npz", "--method", "best"], 2, "no calibration method 'best'"),
        (["compress", "cnn.onnx", "-r", "float16", "--set", "steps.0.calibration=mse", "-o", "s.onnx"], 2, "int16x8"),
        (["compress", "cnn.onnx", "-r", "int8", "--set", "steps.0.ranges=d.npz", "-o", "s.onnx"], 2, "no calibration"),
    ],
)
def test_what_can_not_be_done_is_said_and_leaves_nothing(golden, data, cli, tmp_path, arguments, code, said):
    known = [golden / a if a.startswith("cnn") else a for a in arguments]
    before = sorted(tmp_path.iterdir())

    found, _, err = cli(*known)

    assert found == code
    assert said in err
    assert sorted(tmp_path.iterdir()) == before


def test_inputs_of_zeros_are_warned_of_and_refused_where_a_model_would_come_of_them(golden, cli, tmp_path, caplog):
    np.savez("zeros.npz", x=np.zeros((4, 8, 8, 1), np.float32))

    code, _, _ = cli("calibrate", golden / "cnn.onnx", "--data", "zeros.npz", "-o", "zeros-ranges.npz")
    assert code == 0
    assert "input image is 0 in every calibration sample" in caplog.text

    code, _, err = cli("compress", golden / "cnn.onnx", "-r", "int8", "--data", "zeros.npz", "-o", "s.onnx")
    assert code == 2
    assert "zeros.npz" in err
    assert not (tmp_path / "s.onnx").exists()
