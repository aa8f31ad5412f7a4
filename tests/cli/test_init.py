"""``tinsmith init``: asked at a terminal, or told by options."""

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def here(golden):
    """A folder with a model and samples that fit it, and others that do not."""
    shutil.copyfile(golden / "cnn.tflite", "cnn.tflite")
    np.savez("a-stranger.npz", x=np.zeros((9, 5), "f4"), y=np.arange(9))
    np.savez("calib.npz", x=np.random.default_rng(0).random((30, 8, 8, 1), "f4"), y=np.arange(30) % 3)
    return Path.cwd()


@pytest.fixture
def init(cli, here):
    """The command that follows, as words."""

    def call(*options):
        code, out, err = cli("init", "--yes", "--format", "json", *options)
        assert code == 0, out + err
        return json.loads(out)["init"]["command"]

    return call


def test_without_bounds_it_is_one_recipe_on_what_lies_here(init):
    said = "tinsmith compress cnn.tflite --data calib.npz -r int8 -o cnn-small.tflite"

    assert init() == shlex.split(said)


def test_without_samples_it_is_a_recipe_that_needs_none(init):
    assert "dynamic-int8" in init("--data", "none")


def test_any_bound_makes_it_a_search(init):
    found = init("--max-size", "100KiB", "--max-latency", "5ms@pi4", "--max-latency", "9ms", "--max-drop", "0.5%")

    assert found[:2] == ["tinsmith", "search"]
    assert shlex.join(found).count("--max-latency") == 2
    assert "--max-drop 0.5%" in shlex.join(found)


def test_what_it_says_is_what_the_command_takes(init):
    from tinsmith.compress.commands.compress import compress
    from tinsmith.compress.commands.search import search

    search.make_context("search", init("--max-size", "100KiB", "--max-latency", "5ms", "-d", "pi4")[2:])
    compress.make_context("compress", init("-d", "pi4")[2:])


def test_the_recipe_is_written_and_named(init, cli):
    found = init("-o", "mine.yaml", "--max-drop", "1%")

    assert found[found.index("-r") + 1] == "mine.yaml"
    assert "--max-drop" in found
    assert cli("recipe", "validate", "mine.yaml")[0] == 0
    assert cli("init", "--yes", "-o", "mine.yaml")[0] == 2, "a recipe that was changed would be lost"


def test_what_only_a_search_keeps_is_said_beside_a_recipe(cli, here):
    _, out, _ = cli("init", "--yes", "-o", "mine.yaml", "--max-size", "9kB")

    assert "only a search keeps --max-size: tinsmith search" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "gone.keras"), "gone.keras"),
        (("--data", "a-stranger.npz"), "a-stranger.npz"),
        (("--data", "gone.npz"), "gone.npz"),
        (("-d", "pi99"), "pi99"),
        (("--max-size", "ten"), "ten"),
        (("--max-latency", "5"), "'5'"),
        (("--max-drop", "200%"), "200%"),
        (("-o", "recipe.txt"), "recipe.txt"),
    ],
)
def test_a_wrong_answer_is_said_before_anything_is_written(cli, here, options, said):
    before = sorted(here.iterdir())
    code, _, err = cli("init", "--yes", *options)

    assert code in (2, 4)
    assert said in err
    assert sorted(here.iterdir()) == before


def test_two_models_are_no_default(cli, here, golden):
    shutil.copyfile(golden / "cnn.onnx", "cnn.onnx")

    assert cli("init", "--yes")[0] == 2


def test_without_a_terminal_it_says_which_options_there_are(cli, here):
    code, _, err = cli("init")

    assert code == 2
    assert "--model" in err
    assert "--yes" in err


def test_at_a_terminal_a_wrong_answer_is_asked_again(here):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tinsmith", "init"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as asked:
        answers = ["cn.tflite", "", "", "local", "ten", "4KiB", "none", "0.5%", "none", "write", "mine.yaml"]
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        out, err = asked.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)

    assert asked.returncode == 0, err
    assert "'ten' is no amount of bytes" in err
    assert "tflite, 2,480 bytes, image float32[?, 8, 8, 1] → score float32[?, 3]" in err
    assert "30 samples, 3 classes" in err
    assert "-r mine.yaml --max-drop 0.5%" in out
    assert "only a search keeps --max-size" in out
    assert (here / "mine.yaml").exists()


def test_it_runs_what_it_says(here):
    options = ["--yes", "--data", "none", "--run"]
    done = subprocess.run(
        [sys.executable, "-m", "tinsmith", "init", *options], capture_output=True, text=True, check=False
    )

    # a float .tflite goes to 8 bits without TensorFlow
    assert done.returncode == 0, done.stderr
    assert (here / "cnn-small.tflite").exists()
