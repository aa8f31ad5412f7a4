"""``tinsmith data check``: what it says, on which stream, with which exit code."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for shot in range(20):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{shot:02}.png")
    (tmp_path / "pets" / "dog" / "99.png").write_bytes(b"no image")
    (tmp_path / "pets" / "cat" / "98.png").write_bytes((tmp_path / "pets" / "cat" / "03.png").read_bytes())
    return tmp_path / "pets"


def test_a_table_of_100_columns_shows_all_of_it(cli, pictures):
    code, out, err = cli("data", "check", pictures)

    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    for said in ("42, usable 40", "uint8 [8, 8, 3]", "decode", "cat", "exact duplicate", "unreadable", "98.png"):
        assert said in out


def test_json_is_one_document_with_the_same_facts(cli, pictures, golden):
    code, out, _ = cli("data", "check", pictures, "--model", golden / "cnn.tflite", "--format", "json")

    data = json.loads(out)["data"]
    assert code == 0
    assert [step["kind"] for step in data["preprocessing"]] == ["decode", "resize"]
    assert {d["reason"]: d["samples"] for d in data["cleaning"]["dropped"]} == {"exact duplicate": 1, "unreadable": 1}
    assert [c["name"] for c in data["classes"]] == ["cat", "dog"]
    assert sum(data["splits"].values()) == data["cleaning"]["kept"] == 40


def test_the_splits_depend_on_the_seed(cli, pictures):
    first, other = (cli("data", "check", pictures, "--seed", seed, "--format", "json")[1] for seed in (0, 1))

    assert json.loads(first)["data"]["sha256"] == json.loads(other)["data"]["sha256"]


def test_values_of_the_wrong_range_are_warned_of(cli, golden, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((20, 8, 8, 1)) * 255, y=np.arange(20) % 3)

    code, out, _ = cli("data", "check", tmp_path / "x.npz", "--model", golden / "cnn_int8.tflite")

    assert code == 0
    assert "warning: the values of" in out
    assert "name a scale operation" in out


def test_nothing_usable_is_exit_2(cli, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.full((3, 2), np.nan))

    code, out, err = cli("data", "check", tmp_path / "x.npz")

    assert (code, out) == (2, "")
    assert "x.npz holds nothing usable: 3 NaN or infinite" in err


@pytest.mark.parametrize(
    ("reference", "code", "said"),
    [
        ("none.npz", 2, "there is no dataset none.npz"),
        ("nowhere:load", 2, "nowhere can't be imported"),
        ("data.yaml", 2, "data.yaml:2: lables: Extra inputs"),
        ("empty", 2, "empty holds no folders"),
    ],
)
def test_mistakes_name_what_and_where(cli, tmp_path, reference, code, said):
    (tmp_path / "data.yaml").write_text("source: x.npz\nlables: [a]\n")
    (tmp_path / "empty").mkdir()

    found, out, err = cli("data", "check", reference)

    assert (found, out) == (code, "")
    assert said in err
    assert "hint:" in err


def test_samples_to_calibrate_on_are_held_against_the_evaluation_set(cli, golden, tmp_path):
    x = np.random.default_rng(0).random((160, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x[:40], y=np.arange(40) % 3)
    np.savez(tmp_path / "good.npz", x=x[40:], y=np.arange(120) % 3)
    np.savez(tmp_path / "leak.npz", x=x[30:70], y=np.ones(40, int))
    against = ["--against", tmp_path / "test.npz", "--model", golden / "cnn.tflite"]

    code, out, err = cli("data", "check", tmp_path / "good.npz", *against)
    assert (code, err) == (0, "")
    assert "nothing wrong was found" in out

    code, out, err = cli("data", "check", tmp_path / "leak.npz", *against)
    assert (code, err) == (1, "")
    assert max(map(len, out.splitlines())) <= 100
    for said in ("error: 10 of 40 samples stand in test.npz too", "of one class (1) of 3", "warning: there are 40"):
        assert said in out

    code, out, _ = cli("data", "check", tmp_path / "leak.npz", *against, "--format", "json")
    found = {finding["fault"] for finding in json.loads(out)["data"]["hygiene"]["findings"]}
    assert (code, found) == (1, {"overlap", "one-class", "few"})

    code, out, err = cli("data", "check", tmp_path / "good.npz", "--against", "none.npz")
    assert (code, out) == (2, "")
    assert "there is no dataset none.npz" in err
