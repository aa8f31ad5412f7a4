"""The whole pipeline on golden artifacts: every recipe, both targets, no TensorFlow."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tinsmith.__main__ import run
from tinsmith.compress.compression import Training, compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.convert.conversion import convert
from tinsmith.convert.delivery import Allowances
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.runtime.artifact import manifest_path, read_artifact
from tinsmith.runtime.errors import DataError, TinsmithError, UsageError, VerificationError


@pytest.fixture
def data(tmp_path):
    """Sixty images and labels; label 2 never comes."""
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, x=rng.random((60, 8, 8, 1), np.float32), y=rng.integers(0, 2, 60))
    return path


@pytest.mark.parametrize("recipe", ["float16", "dynamic-int8", "int8", "int16x8"])
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_every_recipe_gives_a_proven_artifact_on_both_targets(golden, tmp_path, data, recipe, target):
    source = golden / f"cnn.{target}"
    before = source.read_bytes()

    made = compress(source, load_recipe(recipe), tmp_path / f"small.{target}", data=data)

    assert source.read_bytes() == before
    proof = made.delivery.proof
    assert proof.agreement >= 0.9
    assert proof.differences[0].snr_db > 20
    assert {use.precision for use in proof.operators} - {"-"}
    assert proof.batch == "free"
    assert read_artifact(tmp_path / f"small.{target}") == made.delivery.artifact


@pytest.mark.parametrize("recipe", ["float16", "int8"])
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_the_same_work_gives_the_same_bytes(golden, tmp_path, data, recipe, target):
    digests = []
    for folder in ("a", "b"):
        output = tmp_path / folder / f"small.{target}"
        output.parent.mkdir()
        compress(golden / f"cnn.{target}", load_recipe(recipe), output, data=data)
        digests.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in (output, manifest_path(output))])

    assert digests[0] == digests[1]


def test_the_manifest_says_where_an_artifact_comes_from(golden, tmp_path, data):
    compress(golden / "cnn.tflite", load_recipe("int8"), tmp_path / "small.tflite", data=data, seed=7)

    lineage = read_artifact(tmp_path / "small.tflite").lineage
    assert lineage.source == "cnn.tflite"
    assert lineage.source_sha256 == hashlib.sha256((golden / "cnn.tflite").read_bytes()).hexdigest()
    assert [step["scheme"] for step in lineage.steps] == ["int8"]
    assert lineage.seed == 7
    assert lineage.data_sha256
    assert "ai-edge-quantizer" in lineage.tools
    assert str(tmp_path) not in manifest_path(tmp_path / "small.tflite").read_text()


def test_what_passes_move_is_said_before_they_run_unless_nobody_is_to_be_told(golden, tmp_path, caplog):
    caplog.set_level("INFO", logger="tinsmith")
    arguments = golden / "cnn.tflite", load_recipe("float16"), tmp_path / "small.tflite"

    compress(*arguments)
    assert "quantize: moves file" in caplog.text

    caplog.clear()
    compress(*arguments, training=Training(announce=None))
    assert "moves" not in caplog.text


def test_an_artifact_that_was_changed_is_not_the_one_of_its_manifest(golden, tmp_path):
    output = tmp_path / "small.tflite"
    compress(golden / "cnn.tflite", load_recipe("float16"), output)
    output.write_bytes(output.read_bytes() + b"\0")

    with pytest.raises(VerificationError, match="not the file"):
        read_artifact(output)


def test_a_manifest_that_is_missing_damaged_or_newer_is_refused(golden, tmp_path):
    output = tmp_path / "small.tflite"
    output.write_bytes((golden / "cnn.tflite").read_bytes())
    for content, said in [(None, "no manifest"), ("{", "damaged"), ("{}", "damaged"), ('{"schema": 99}', "newer")]:
        if content is not None:
            manifest_path(output).write_text(content)
        with pytest.raises(DataError, match=said):
            read_artifact(output)


def test_int8_inputs_and_outputs_come_when_asked_for(golden, tmp_path, data):
    recipe = load_recipe("int8", overrides=["steps.0.io=int8"])

    made = compress(golden / "cnn.tflite", recipe, tmp_path / "small.tflite", data=data)

    assert made.delivery.artifact.inputs[0].dtype == "int8"
    assert made.delivery.proof.agreement >= 0.9


def test_nothing_phones_home_and_no_engine_leaves_a_session_number(golden, tmp_path, data):
    (tmp_path / "tmp").mkdir()
    command = ["compress", str(golden / "cnn.onnx"), "-r", "int8", "--data", str(data), "-o", "a.onnx"]

    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run(
        [sys.executable, "-m", "tinsmith", *command], check=True, cwd=tmp_path, env=environment, capture_output=True
    )

    assert list((tmp_path / "tmp").iterdir()) == []


def test_no_tensorflow_takes_part_where_the_model_is_an_artifact(golden, tmp_path):
    code = (
        "import sys; from tinsmith.__main__ import run\n"
        f"assert run(['compress', r'{golden / 'cnn.tflite'}', '-r', 'dynamic-int8', '-o', 'a.tflite']) == 0\n"
        f"assert run(['compress', r'{golden / 'cnn.onnx'}', '-r', 'dynamic-int8', '-o', 'a.onnx']) == 0\n"
        f"assert run(['inspect', 'a.tflite']) == 0 and run(['inspect', 'a.onnx']) == 0\n"
        "assert 'tensorflow' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)


def test_an_output_of_another_format_than_the_recipes_target_is_refused(golden, tmp_path):
    with pytest.raises(UsageError):
        convert(golden / "cnn.tflite", tmp_path / "x.bin")
    with pytest.raises(UsageError, match="tflite already"):
        convert(golden / "cnn.tflite", tmp_path / "x.tflite")


def test_a_failed_proof_writes_nothing_and_force_parity_keeps_it(golden, tmp_path, monkeypatch):
    from tinsmith.convert import parity

    monkeypatch.setattr(parity, "FLOAT16", parity.FLOAT16)
    strict = parity.Tolerance(name="none", relative=0.0)
    monkeypatch.setattr("tinsmith.compress.passes.quantization.FLOAT16", strict)
    monkeypatch.setattr("tinsmith.compress.running.FLOAT32", strict)
    output = tmp_path / "small.tflite"

    with pytest.raises(VerificationError):
        compress(golden / "cnn.tflite", load_recipe("float16"), output)
    assert list(tmp_path.iterdir()) == []

    compress(golden / "cnn.tflite", load_recipe("float16"), output, allow=Allowances(parity=True))
    assert output.exists()


def test_evaluate_counts_what_is_right_and_compares_with_the_first(golden, data):
    floats, int8 = evaluate_models([golden / "cnn.tflite", golden / "cnn_int8.tflite"], data)

    labels = np.load(data)["y"]
    assert floats.samples == 60
    assert floats.correct == sum(a == b for a, b in zip(floats.answers, labels, strict=True))
    assert floats.agreement(floats) == 1.0
    assert 0.5 < int8.agreement(floats) <= 1.0
    assert 0 <= floats.standard_error < 0.07


def test_evaluate_refuses_labels_that_the_model_does_not_know_and_samples_without_any(golden, tmp_path):
    x = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    np.savez(tmp_path / "many.npz", x=x, y=[0, 1, 2, 3])
    np.savez(tmp_path / "none.npz", x=x)

    with pytest.raises(DataError, match="label 3"):
        evaluate_models([golden / "cnn.tflite"], tmp_path / "many.npz")
    with pytest.raises(DataError, match="no labels"):
        evaluate_models([golden / "cnn.tflite"], tmp_path / "none.npz")


@pytest.mark.parametrize(
    "command",
    [
        ["compress", "{golden}/cnn.tflite", "-r", "float16", "-o", "a.tflite"],
        ["compress", "{golden}/cnn.tflite", "-r", "float16", "-o", "a.tflite", "--dry-run"],
        ["compare", "{golden}/cnn.tflite", "{golden}/cnn.onnx"],
        ["evaluate", "{golden}/cnn.tflite", "{golden}/cnn.onnx", "--data", "{data}"],
        ["benchmark", "{golden}/dense.tflite", "--processes", "2", "--runs", "40"],
    ],
    ids=lambda command: " ".join(command[:1] + command[-1:]),
)
def test_each_command_prints_a_table_within_100_columns_and_one_json_document(golden, data, capsys, command):
    arguments = [part.format(golden=golden, data=data) for part in command]

    assert run(arguments) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100

    assert run([*arguments, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1


def test_the_source_is_never_the_output(golden, tmp_path):
    source = tmp_path / "m.tflite"
    source.write_bytes((golden / "cnn.tflite").read_bytes())
    (tmp_path / "link").symlink_to(tmp_path)

    for output in (source, tmp_path / "link" / "m.tflite"):
        with pytest.raises(UsageError, match="would change the source"):
            compress(source, load_recipe("float16"), output)

    assert source.read_bytes() == (golden / "cnn.tflite").read_bytes()


def test_a_dry_run_writes_nothing(golden, tmp_path):
    assert run(["compress", str(golden / "cnn.keras"), "-r", "int8", "-o", "a.tflite", "-n"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_benchmark_refuses_a_percentile_without_its_runs_and_keeps_raw_samples(golden, capsys):
    command = ["benchmark", str(golden / "dense.tflite"), "--processes", "2", "--runs", "40", "--format", "json"]

    assert run([*command, "--percentile", "99"]) == 2
    assert "662" in json.loads(capsys.readouterr().out)["error"]["message"]

    assert run(command) == 0
    (measured,) = json.loads(capsys.readouterr().out)["measurements"]
    assert [len(p["samples_ns"]) for p in measured["processes"]] == [40, 40]
    assert 0 < measured["p50_ms"] <= measured["p90_ms"]
    assert 20 < measured["peak_memory_bytes"] / 2**20 < 200


def test_two_runs_of_the_pipeline_leave_no_temp_files(golden, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    compress(golden / "cnn.onnx", load_recipe("dynamic-int8"), tmp_path / "a.onnx")
    with pytest.raises(TinsmithError):
        compress(golden / "cnn_int8.tflite", load_recipe("int8"), tmp_path / "a.tflite")

    assert list((tmp_path / "tmp").iterdir()) == []
