"""``tinsmith compare --layers`` as a user meets it."""

import json

import pytest


def test_a_table_of_100_columns_and_a_page(golden, tmp_path, cli):
    html = tmp_path / "layers.html"
    code, out, _ = cli("compare", golden / "cnn.tflite", golden / "cnn_int8.tflite", "--layers", "-o", html)

    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    assert "CONV_2D" in out
    assert f"page: {html}"[:60] in out.replace("\n", "")
    text = html.read_text()
    assert text.startswith("<!doctype html>")
    assert "--layers -o" in text


def test_json_is_one_document(golden, cli):
    code, out, err = cli("compare", golden / "cnn.tflite", golden / "cnn_int8.tflite", "--layers", "--format", "json")

    found = json.loads(out)["layers"]
    assert (code, err) == (0, "")
    assert found["samples"] == 8
    assert [layer["position"] for layer in found["layers"]] == list(range(len(found["layers"])))
    assert all(layer["other_dtype"] == "int8" for layer in found["layers"])
    assert len(found["reference_sha256"]) == 64


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["cnn.tflite", "dense.tflite", "--layers"], 6, "not the same model"),
        (["cnn.tflite", "cnn.onnx", "--layers"], 2, "nothing in common"),
        (["cnn.tflite", "cnn.keras", "--layers"], 2, "layers are compared in .tflite and .onnx files"),
        (["cnn_int8.tflite", "cnn.tflite", "--layers"], 2, "is quantized itself"),
        (["cnn.tflite", "cnn_int8.tflite", "-o", "page.html"], 2, "only a comparison of layers"),
        (["cnn.tflite", "cnn_int8.tflite", "--layers", "-o", "no/page.html"], 3, "cannot write"),
        (["cnn.tflite", "none.tflite", "--layers"], 4, "there is no model"),
    ],
)
def test_bad_input_is_said_and_nothing_is_written(golden, tmp_path, cli, arguments, code, said):
    ended, out, err = cli("compare", *(golden / a if a.startswith(("cnn", "dense")) else a for a in arguments))

    assert (ended, out) == (code, "")
    assert said in err
    assert "hint:" in err
    assert list(tmp_path.iterdir()) == []
