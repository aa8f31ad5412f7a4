"""What a recipe said it would move, held against what it moved."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tinsmith.compress.balance import judged_on
from tinsmith.compress.commands.balance_view import balance_view
from tinsmith.compress.compression import compress
from tinsmith.compress.passes.base import Needs
from tinsmith.compress.recipe import load_recipe
from tinsmith.convert.data import Roles, open_dataset
from tinsmith.runtime.commands.output import console
from tinsmith.runtime.errors import DataError


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.random((60, 8, 8, 1), np.float32), y=rng.integers(0, 3, 60))
    return folder / "d.npz"


@pytest.mark.parametrize("recipe", ["float32", "float16", "dynamic-int8", "int8", "int16x8", "slim"])
def test_what_was_not_said_to_move_stays(golden, labelled, tmp_path, recipe):
    made = compress(golden / "cnn.tflite", load_recipe(recipe), tmp_path / "x.tflite", data=labelled)
    moved = made.balance.to_json()
    for name, (before, after) in made.balance.bytes_moved.items():
        if not moved[name]["announced"]:
            assert after == pytest.approx(before, rel=0.02), name
    if not moved["accuracy"]["announced"]:
        assert moved["accuracy"]["before"]["score"] == moved["accuracy"]["after"]["score"]
    json.dumps(made.to_json(), allow_nan=False)


def test_int8_moves_what_it_says(golden, labelled, tmp_path):
    balance = compress(golden / "cnn.tflite", load_recipe("int8"), tmp_path / "x.tflite", data=labelled).balance
    moved = balance.bytes_moved
    assert set(balance.announced) == {"file", "zip", "flash", "ram", "latency", "accuracy"}
    # this model takes float32, and its input is as large as all the rest
    assert moved["ram"][1] < moved["ram"][0] / 2
    losses = balance.judged.after.lost_by_class(balance.judged.before)
    assert [change for _, change in losses] == sorted(change for _, change in losses)


@pytest.mark.tensorflow
def test_a_change_of_format_is_no_achievement(golden, labelled, tmp_path):
    made = compress(golden / "cnn.keras", load_recipe("dynamic-int8"), tmp_path / "x.tflite", data=labelled)
    plain = tmp_path / "plain.tflite"
    compress(golden / "cnn.keras", load_recipe("float32"), plain)
    assert made.balance.before.file_bytes == plain.stat().st_size
    assert made.source_bytes != plain.stat().st_size


def test_samples_without_labels_judge_nothing_and_the_reason_is_said(golden, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((20, 8, 8, 1), np.float32))
    made = compress(golden / "cnn.tflite", load_recipe("int8"), tmp_path / "x.tflite", data=tmp_path / "d.npz")
    assert made.balance.judged is None
    assert "no samples with labels" in made.balance.unjudged


def test_a_metric_that_does_not_fit_is_an_error_only_where_the_user_chose_it(golden, tmp_path):
    x = np.random.default_rng(0).random((20, 8, 8, 1), np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.linspace(-1, 1, 20))
    arguments = golden / "cnn.tflite", load_recipe("int8"), tmp_path / "x.tflite"
    made = compress(*arguments, data=tmp_path / "d.npz")
    assert "the model gives 3" in made.balance.unjudged
    (tmp_path / "x.tflite").unlink()
    with pytest.raises(DataError):
        compress(*arguments, data=tmp_path / "d.npz", metric="accuracy")
    assert not (tmp_path / "x.tflite").exists()


def test_many_samples_are_judged_by_two_thousand_of_them_class_by_class(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((5000, 2), np.float32), y=np.arange(5000) % 5)
    roles = Roles(open_dataset(tmp_path / "d.npz", None), seed=0)
    ranges = Needs(data=True, labels=False, training=False)
    assert np.bincount(judged_on(roles, ranges).labels).tolist() == [400] * 5
    assert len(judged_on(roles, replace(ranges, training=True))) == 500
    assert judged_on(None, ranges) is None


def test_who_judges_by_samples_that_ranges_were_found_on_is_told_so(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.arange(100, dtype=np.float32).reshape(50, 2), y=np.arange(50) % 5)
    roles = Roles(open_dataset(tmp_path / "d.npz", None), seed=0)
    assert judged_on(roles, Needs(data=True, labels=False, training=False)).name == "d.npz (calibrated on as well)"
    assert judged_on(roles, Needs(data=False, labels=False, training=False)).name == "d.npz"


def test_the_table_fits_100_columns(golden, labelled, tmp_path, capsys):
    made = compress(golden / "cnn.tflite", load_recipe("int8"), tmp_path / "x.tflite", data=labelled)
    for part in balance_view(made.balance):
        console().print(part, markup=False)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert "largest loss first" in shown
    assert SimpleNamespace(**made.balance.to_json()).latency["rounds"] >= 3
