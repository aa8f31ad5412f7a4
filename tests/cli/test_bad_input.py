"""Whatever is thrown at a command: one clear message, the documented exit code, nothing half-written."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tinsmith.__main__ import run

DATA, HOST, MODEL, VERIFICATION = 2, 3, 4, 6


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command that must fail: checks streams, JSON and leftovers, gives its exit code and message."""

    def call(*arguments):
        before = {p for p in tmp_path.rglob("*") if p.name != "out"}
        arguments = [str(a) for a in arguments]
        code = run(arguments)
        said = capsys.readouterr()
        assert said.out == ""
        error, hint = said.err.splitlines()[-2:]
        assert error.startswith("error: ")
        assert hint.startswith("hint:  ")
        assert "Traceback" not in said.err
        assert {p for p in tmp_path.rglob("*") if p.name != "out"} == before, "something was left behind"
        assert run([*arguments, "--format", "json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert document["error"]["message"] in said.err
        return code, document["error"]["message"]

    return call


def damaged(content, how):
    if how == "empty":
        return b""
    if how == "truncated":
        return content[: len(content) // 2]
    middle = bytearray(content)
    for at in range(0, len(middle), 7):
        middle[at] ^= 0x55
    return bytes(middle)


@pytest.mark.parametrize("how", ["empty", "truncated", "flipped"])
@pytest.mark.parametrize("name", ["cnn.tflite", "cnn.onnx"])
@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "{}"],
        ["benchmark", "{}"],
        ["compress", "{}", "-r", "dynamic-int8", "-o", "made{suffix}"],
        ["compare", "{}", "{}"],
    ],
    ids=lambda command: command[0],
)
def test_a_damaged_artifact_is_refused(refused, golden, tmp_path, how, name, command):
    path = tmp_path / name
    path.write_bytes(damaged((golden / name).read_bytes(), how))

    code, message = refused(*(part.format(path, suffix=path.suffix) for part in command))

    assert code == MODEL
    assert name in message


@pytest.mark.parametrize("name", ["notes.tflite", "notes.onnx", "notes.keras", "notes.h5", "notes.txt"])
def test_a_text_file_with_a_models_name_is_refused(refused, tmp_path, name):
    (tmp_path / name).write_text("Dear diary, I am no model.\n" * 20)

    code, message = refused("inspect", tmp_path / name)

    assert code == MODEL
    assert name in message


def test_a_missing_model_and_a_folder_without_one_are_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()

    assert refused("inspect", tmp_path / "none.tflite")[0] == MODEL
    assert refused("inspect", tmp_path / "empty")[0] == MODEL


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("command", [["inspect"], ["search", "-o", "run"], ["convert", "-o", "x.tflite"]])
def test_samples_in_a_models_place_are_told_where_they_go(tmp_path, capsys, command):
    name, *more = command
    code = run([name, str(npz(tmp_path / "d.npz", x=np.zeros(3), y=np.zeros(3))), *more])

    assert code == MODEL
    said = capsys.readouterr().err
    assert "holds arrays (.npz), and no model" in said
    assert "samples go to --data" in said
    assert "unpack" not in said


class Touch:
    """Unpickling this would write a file."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def datasets(tmp_path):
    good = np.random.default_rng(0).random((20, 8, 8, 1)).astype(np.float32)
    nan = good.copy()
    nan[7, 0, 0, 0] = np.nan
    infinite = good.copy()
    infinite[3] = np.inf
    pickled = io.BytesIO()
    np.save(pickled, np.array([Touch()], dtype=object), allow_pickle=True)
    evil = tmp_path / "evil.npz"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("x.npy", pickled.getvalue())
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"x": 1}))
    (tmp_path / "text.npz").write_text("no arrays")
    one_class = tmp_path / "photos" / "cat"
    one_class.mkdir(parents=True)
    (one_class / "a.png").write_bytes(b"no picture")
    return {
        "missing": tmp_path / "none.npz",
        "shape": npz(tmp_path / "shape.npz", x=good[:, :4]),
        "rank": npz(tmp_path / "rank.npz", x=good[0, 0, 0]),
        "dtype": npz(tmp_path / "dtype.npz", x=np.array(["a", "b"])),
        "complex": npz(tmp_path / "complex.npz", x=good.astype(complex)),
        "nan": npz(tmp_path / "nan.npz", x=nan),
        "infinite": npz(tmp_path / "infinite.npz", x=infinite),
        "none at all": npz(tmp_path / "zero.npz", x=good[:0]),
        "no x": npz(tmp_path / "nox.npz", pixels=good, other=good),
        "labels": npz(tmp_path / "labels.npz", x=good, y=np.zeros(3, int)),
        "pickled objects": evil,
        "a pickle": tmp_path / "pickle.npz",
        "text": tmp_path / "text.npz",
        "one class": tmp_path / "photos",
    }


@pytest.mark.parametrize(
    "what",
    ["missing", "shape", "rank", "dtype", "complex", "nan", "infinite", "none at all", "no x", "labels",
     "pickled objects", "a pickle", "text", "one class"],
)  # fmt: skip
def test_a_dataset_that_can_not_calibrate_is_refused(refused, golden, tmp_path, what):
    data = datasets(tmp_path)[what]

    output = tmp_path / "out.tflite"
    code, message = refused("compress", golden / "cnn.tflite", "-r", "int8", "-o", output, "--data", data)

    assert code == DATA
    assert data.name in message
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("recipe", ["int8", "int16x8"])
@pytest.mark.parametrize("name", ["cnn.tflite", "cnn.onnx"])
def test_static_recipes_without_data_are_refused_and_never_see_noise(refused, golden, tmp_path, recipe, name):
    output = tmp_path / f"out{(golden / name).suffix}"

    code, message = refused("compress", golden / name, "-r", recipe, "-o", output)

    assert code == DATA
    assert "real samples" in message


def test_an_unknown_recipe_and_an_unknown_key_are_refused(refused, golden, tmp_path):
    (tmp_path / "mine.yaml").write_text("version: 1\nsteps:\n  - kind: quantize\n    shceme: int8\n")
    output = tmp_path / "out.tflite"

    assert refused("compress", golden / "cnn.tflite", "-r", "int88", "-o", output)[0] == DATA
    code, message = refused("compress", golden / "cnn.tflite", "-r", tmp_path / "mine.yaml", "-o", output)
    assert code == DATA
    assert "mine.yaml:4" in message


def test_an_output_that_can_not_be_written_is_found_before_the_work(refused, golden, tmp_path):
    model = tmp_path / "half.tflite"
    model.write_bytes((golden / "cnn.tflite").read_bytes()[:1500])

    code, message = refused("compress", model, "-r", "float16", "-o", tmp_path / "no" / "x.tflite")
    assert code == HOST
    assert "no/x.tflite" in message
    assert refused("compress", model, "-r", "float16", "-o", tmp_path / "x.tflite")[0] == MODEL, "the work fails"


def test_a_model_that_never_ends_is_stopped_at_the_time_limit(refused, golden):
    code, message = refused("benchmark", golden / "endless.tflite", "--time-limit", "0.5")

    assert code == MODEL
    assert "0.5 s" in message


def test_a_model_is_never_quantized_twice(refused, golden, tmp_path):
    code, message = refused("compress", golden / "cnn_int8.tflite", "-r", "dynamic-int8", "-o", tmp_path / "x.tflite")

    assert code == DATA
    assert "already" in message


def test_a_full_disk_leaves_nothing_half_written(golden, small_disk, capsys):
    (small_disk / "ballast").write_bytes(bytes(20_000))
    output = small_disk / "x.tflite"

    code = run(["compress", str(golden / "cnn.tflite"), "-r", "float32", "-o", str(output)])

    said = capsys.readouterr()
    assert code == HOST
    assert "No space left" in said.err
    assert [p.name for p in small_disk.iterdir()] == ["ballast"]


@pytest.mark.tensorflow
def test_ctrl_c_in_the_middle_of_a_conversion_leaves_nothing(golden, tmp_path):
    arguments = ["compress", str(golden / "cnn.keras"), "-v", "-r", "float32", "-o", str(tmp_path / "x.tflite")]
    command = [sys.executable, "-m", "tinsmith", *arguments]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a shell that runs the tests in the background has them ignore Ctrl-C, and a child inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs here
    )
    while "convert.started" not in (line := process.stderr.readline()):
        assert line, "it ended before it converted"

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert out == ""
    assert "error: interrupted; nothing was left half-written" in err.splitlines()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.tensorflow
def test_a_lambda_layer_needs_the_named_force(refused, tmp_path):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "lambda.keras")

    code, message = refused("convert", tmp_path / "lambda.keras", "-o", tmp_path / "x.tflite")

    assert code == MODEL
    assert "Lambda" in message or "lambda" in message


@pytest.mark.tensorflow
@pytest.mark.parametrize("how", ["empty", "truncated", "flipped"])
def test_a_damaged_keras_file_is_refused(refused, golden, tmp_path, how):
    path = tmp_path / "cnn.keras"
    path.write_bytes(damaged((golden / "cnn.keras").read_bytes(), how))

    code, message = refused("convert", path, "-o", tmp_path / "x.tflite")

    assert code == MODEL
    assert "cnn.keras" in message
