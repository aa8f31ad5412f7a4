"""`tinsmith benchmark` as a gate: thresholds, comparisons, files and history."""

import json

import pytest

QUICKLY = ("--processes", "5", "--runs", "20", "--effort", "rapid")


@pytest.fixture
def result(cli, golden, tmp_path):
    """What an earlier benchmark of dense.tflite wrote."""
    path = tmp_path / "result.json"
    code, _, _ = cli("benchmark", golden / "dense.tflite", *QUICKLY, "-o", path)
    assert code == 0
    return path


def test_a_threshold_that_is_crossed_fails_after_the_table(cli, golden):
    code, out, _ = cli("benchmark", golden / "dense.tflite", *QUICKLY, "--fail-if", "p90>1ns", "--fail-if", "load>1s")

    said = " ".join(out.split())
    assert code == 1
    assert "FAILED: --fail-if p90>1ns: dense.tflite on local: p90" in said
    assert "kept: --fail-if load>1s: dense.tflite on local: load" in said
    assert out.index("median ms") < out.index("FAILED")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-if", "p90>12"], "lacks a unit: ns, us,"),
        (["--fail-if", "speed>12ms"], "p50, p90, p95, p99"),
        (["--fail-if", "p99>12ms"], "p99 needs 662 runs, and 100 were asked for"),
        (["-o", "out.pdf"], "none of .json, .md, .csv, .html"),
        (["--against", "missing.json"], "cannot read missing.json"),
        (["--against", "missing.tflite"], "missing.tflite"),
        (["--against", "x.tflite", "--processes", "4"], "takes 5 processes or more"),
    ],
)
def test_what_nobody_could_judge_is_refused_before_anything_is_measured(cli, golden, tmp_path, arguments, said):
    code, out, err = cli("benchmark", golden / "dense.tflite", *QUICKLY, *arguments)

    assert code in {2, 4}
    assert said in err
    assert out == ""
    assert not (tmp_path / "state").exists()


def test_without_a_model_there_is_nothing_to_measure(cli):
    code, _, err = cli("benchmark")

    assert code == 2
    assert "--history" in err


def test_models_take_turns_and_the_ratio_is_told(cli, golden):
    code, out, _ = cli(
        "benchmark", golden / "dense.tflite", "--against", golden / "dense.tflite", *QUICKLY, "--format", "json"
    )

    document = json.loads(out)
    (comparison,) = document["comparisons"]
    assert code in {0, 1}
    assert len(document["measurements"]) == 2
    assert comparison["ratio_interval"][0] <= comparison["ratio"] <= comparison["ratio_interval"][1]
    assert comparison["against_taken_at"] is None


def test_a_model_that_is_slower_beyond_doubt_fails(cli, golden):
    code, out, _ = cli("benchmark", golden / "cnn.onnx", "--against", golden / "dense.tflite", *QUICKLY)

    assert code == 1
    assert "slower (margin 2 %)" in " ".join(out.split())


def test_an_earlier_result_is_compared_with(cli, golden, result):
    code, out, _ = cli("benchmark", golden / "dense.tflite", "--against", result, *QUICKLY, "--format", "json")

    (comparison,) = json.loads(out)["comparisons"]
    assert code in {0, 1}
    assert comparison["against_taken_at"] == json.loads(result.read_text())["measurements"][0]["taken_at"]
    assert comparison["ratio"] > 0


def test_an_earlier_result_of_another_model_is_refused_unless_that_is_meant(cli, golden, result):
    refused = cli("benchmark", golden / "cnn.tflite", "--against", result, *QUICKLY)
    meant = cli("benchmark", golden / "cnn.tflite", "--against", result, *QUICKLY, "--force", "other-model")

    assert refused[0] == 2
    assert "--force other-model" in refused[2]
    assert refused[1] == ""
    assert meant[0] in {0, 1}
    assert "cnn.tflite on local against dense.tflite of 20" in " ".join(meant[1].split())


def test_all_files_tell_of_the_same_measurement(cli, golden, tmp_path):
    outputs = [tmp_path / f"out{form}" for form in (".json", ".md", ".csv", ".html")]

    code, out, _ = cli("benchmark", golden / "dense.tflite", *QUICKLY, *(w for o in outputs for w in ("-o", o)))

    assert code == 0
    assert out.count("written:") == 4
    sha256 = json.loads(outputs[0].read_text())["measurements"][0]["artifact_sha256"]
    assert all(sha256[:12] in output.read_text() for output in outputs)


def test_history_lists_plots_and_writes_what_was_measured(cli, golden, result, tmp_path):
    cli("benchmark", golden / "cnn.tflite", *QUICKLY)

    _, out, _ = cli("benchmark", "--history", "-o", tmp_path / "h.html")
    _, one, _ = cli("benchmark", "--history", golden / "dense.tflite", "-d", "local", "--format", "json")

    assert "dense.tflite" in out
    assert "cnn.tflite" in out
    assert max(map(len, out.splitlines())) <= 100
    assert (tmp_path / "h.html").read_text().count("<svg") == 2
    (entry,) = json.loads(one)["history"]
    assert entry["median_ms"] == json.loads(result.read_text())["measurements"][0]["median_ms"]


def test_a_history_that_can_t_be_written_costs_the_measurement_nothing(cli, golden, tmp_path, caplog):
    (tmp_path / "state").write_text("")

    code, out, _ = cli("benchmark", golden / "dense.tflite", *QUICKLY)

    assert code == 0
    assert "dense.tflite" in out
    assert "not kept in the history" in caplog.text


def test_history_writes_pages_alone(cli, tmp_path):
    code, _, err = cli("benchmark", "--history", "-o", tmp_path / "h.csv")

    assert code == 2
    assert ".html" in err
