"""`tinsmith benchmark` says where it ran, and why not where it was asked to."""

import json


def test_a_benchmark_says_where_the_operators_ran_and_what_was_refused(cli, golden):
    code, out, _ = cli(
        "benchmark", golden / "cnn_int8.tflite", "--accelerator", "edgetpu,cpu", "--processes", "1", "--runs", "11",
        "--format", "json",
    )  # fmt: skip

    placement = json.loads(out)["measurements"][0]["placement"]
    assert code == 0
    assert sorted(name for names in placement["units"].values() for name in names) == [
        "CONV_2D", "FULLY_CONNECTED", "MEAN", "SOFTMAX",
    ]  # fmt: skip
    assert "edgetpu can't be loaded" in placement["refusals"][0]


def test_people_read_the_same(cli, golden):
    _, out, _ = cli("benchmark", golden / "cnn.onnx", "--accelerator", "cuda,cpu", "--processes", "1", "--runs", "11")

    said = " ".join(out.split())
    assert "cnn.onnx: operators on cpu 7." in said
    assert "cnn.onnx: not on what was asked for first: cuda: this onnxruntime was built without" in said
