"""`tinsmith benchmark`: devices by name, what is lost, and what people and machines read."""

import json

import pytest

QUICKLY = ("--processes", "5", "--runs", "20", "--effort", "rapid")


@pytest.fixture
def gone(tmp_path):
    """A device that nobody answers for."""
    inventory = '[devices.gone]\nprofile = "pi4"\naddress = "ssh://pi@127.0.0.1:1"\ntags = ["all"]\n'
    here = f'[devices.bench]\nprofile = "local"\naddress = "local:{tmp_path}"\ntags = ["all"]\n'
    (tmp_path / "devices.toml").write_text(inventory + here)
    return "gone"


def test_every_column_stands_in_a_table_of_100_columns(cli, golden, tmp_path):
    long = tmp_path / "a_model_of_a_longer_name_than_most_have_v2_int8.tflite"
    long.write_bytes((golden / "dense.tflite").read_bytes())

    code, out, _ = cli("benchmark", long, golden / "cnn.onnx", *QUICKLY, "--operators")

    head = next(line for line in out.splitlines() if "model" in line)
    assert code == 0
    assert head.split("  ")[0].strip() == "model"
    for column in ("device", "median ms (95 %)", "p90 ms", "load ms", "MiB", "bytes", "verdict"):
        assert column in head
    assert max(map(len, out.splitlines())) <= 100
    assert "the slowest operators" in out
    assert long.name in out


def test_json_keeps_raw_samples_conditions_and_operators(cli, golden):
    _, out, _ = cli("benchmark", golden / "cnn.onnx", *QUICKLY, "--operators", "--format", "json")

    document = json.loads(out)
    (measured,) = document["measurements"]
    assert [len(p["samples_ns"]) for p in measured["processes"]] == [20] * 5
    assert measured["interval_ms"][0] <= measured["median_ms"] <= measured["interval_ms"][1]
    assert measured["verdict"]["state"] in {"stable", "noisy", "throttled"}
    assert {"before", "after", "usage"} <= measured["processes"][0].keys()
    assert {o["operator"] for o in measured["processes"][0]["operators"]["operators"]} >= {"Conv", "Softmax"}
    assert measured["processes"][1]["operators"] is None
    assert document["failures"] == []


def test_litert_tells_the_time_of_its_operators_too(cli, golden):
    _, out, _ = cli("benchmark", golden / "cnn_int8.tflite", *QUICKLY, "--operators", "--format", "json")

    times = json.loads(out)["measurements"][0]["processes"][0]["operators"]
    if times["operators"] is None:
        pytest.skip(times["why"])
    assert {(o["unit"], o["operator"].split()[0]) for o in times["operators"]} >= {
        ("xnnpack", "Convolution"), ("cpu", "SOFTMAX"),
    }  # fmt: skip


def test_a_lost_device_costs_the_others_nothing(cli, golden, gone):
    code, out, _ = cli("benchmark", golden / "dense.tflite", "-d", "all", "-d", "local", *QUICKLY)

    said = " ".join(out.split())
    assert code == 5
    assert "dense.tflite on gone: not measured to the end:" in said
    assert "dense.tflite bench" in said
    assert "dense.tflite local" in said


def test_where_nothing_was_measured_the_reason_is_the_error(cli, golden, gone):
    code, out, _ = cli("benchmark", golden / "dense.tflite", "-d", gone, "--format", "json")

    error = json.loads(out)["error"]
    assert code == 5
    assert "127.0.0.1" in error["message"]


def test_a_profile_that_is_no_device_is_refused_with_the_next_command(cli, golden):
    code, _, err = cli("benchmark", golden / "dense.tflite", "-d", "pi4")

    assert code == 2
    assert "tinsmith devices add NAME --profile pi4" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sustained", "2m"], "5 minutes"),
        (["--sustained", "long"], "no duration"),
        (["--sustained", "10m", "--runs", "3"], "takes no --runs"),
        (["--percentile", "99.9"], "6636"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is(cli, golden, arguments, said):
    code, _, err = cli("benchmark", golden / "dense.tflite", *arguments)

    assert code == 2
    assert said in err


def test_offline_says_how_many_a_second(cli, golden):
    code, out, _ = cli("benchmark", golden / "dense.tflite", *QUICKLY, "--scenario", "offline")

    assert code == 0
    assert "inferences/s" in out


def test_instructions_are_never_mixed_with_times(cli, golden):
    code, out, err = cli("benchmark", golden / "dense.tflite", "--instructions", "--effort", "full", "--operators")

    assert (code, out) == (2, "")
    assert "--effort, --operators" in err


def test_a_machine_that_counts_no_instructions_says_which_board_does(cli, golden):
    code, out, err = cli("benchmark", golden / "dense.tflite", "--instructions", "--format", "json")

    document = json.loads(out or err)
    if code == 0:
        assert document["instruction_counts"][0]["instructions"] > 1000
        assert "measurements" not in document
    else:
        assert (code, document["error"]["code"]) == (3, "host")
        assert "--kind icount" in document["error"]["hint"]
