"""Inspection of trained models: Keras files and SavedModels, read without building them and without TensorFlow."""

import json
import shutil
import sys
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.convert.inspection import inspect_model, operator_precisions
from tinsmith.runtime.errors import MissingDependencyError, ModelLoadError, TinsmithError

CNN_PARAMETERS = (9 * 4 + 4) + (4 * 3 + 3)


def test_a_keras_file_is_read_without_building_it(golden, tmp_path):
    found = inspect_model(golden / "cnn.keras")

    assert found.view.parameters == CNN_PARAMETERS
    assert dict(found.view.layers)["Conv2D"] == 1
    assert found.view.writer.startswith("Keras 3")
    assert found.view.unsafe == ()


def test_lambda_layers_are_told_before_anybody_loads_them(golden, tmp_path):
    path = tmp_path / "lambda.keras"
    with zipfile.ZipFile(golden / "cnn.keras") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["class_name"] = "Lambda"
                content = json.dumps(config).encode()
            target.writestr(name, content)

    assert len(inspect_model(path).view.unsafe) == 1


def test_a_lambda_hidden_in_a_wrapper_is_told(tmp_path):
    hidden = {"class_name": "Lambda", "config": {"name": "sly"}}
    layers = [{"class_name": "TimeDistributed", "config": {"name": "t", "layer": hidden}}]
    path = tmp_path / "hidden.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}}))

    found = inspect_model(path).view

    assert found.unsafe == ("sly",)
    assert found.parameters is None


def test_a_config_that_swells_beyond_reason_is_refused(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(80 << 20))

    with pytest.raises(ModelLoadError, match="swells"):
        inspect_model(path)


def field(number, content):
    """One field of a protocol buffer: a number, or the bytes of a text or message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number):
    number &= (1 << 64) - 1
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def savedmodel(folder):
    """A SavedModel with one layer, a variable of 4 x 3, and an optimizer that holds another."""
    lengths = field(2, field(1, 4)) + field(2, field(1, 3))
    variable = field(7, field(1, 1) + field(2, lengths))
    layer = field(4, field(1, "_tf_keras_layer") + field(3, json.dumps({"class_name": "Dense"})))
    edges = field(1, field(1, 1) + field(2, "layer-0")) + field(1, field(1, 2) + field(2, "optimizer"))
    objects = [edges, layer + field(1, field(1, 3) + field(2, "kernel")), variable, variable]
    info = field(2, 1) + field(3, field(2, field(1, -1)) + field(2, field(1, 4)))
    signature = field(1, field(1, "x") + field(2, info))
    meta = field(1, field(5, "2.99.0")) + field(2, field(1, field(2, "PyFunc")))
    meta += field(5, field(1, "serving_default") + field(2, signature))
    meta += field(7, b"".join(field(1, entry) for entry in objects))
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(field(1, 1) + field(2, meta))
    return folder


def test_a_savedmodel_is_read_without_tensorflow(tmp_path):
    view = inspect_model(savedmodel(tmp_path / "saved")).view

    assert view.writer == "TensorFlow 2.99.0"
    assert (view.kind, view.layers, view.unsafe) == ("layer", (("Dense", 1),), ("PyFunc",))
    assert (view.parameters, view.weight_bytes) == (12, 48)
    assert [(spec.name, spec.dtype, spec.shape) for spec in view.inputs] == [("x", "float32", (None, 4))]


def test_without_h5py_a_keras_file_is_not_called_damaged(golden, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)

    with pytest.raises(MissingDependencyError, match="h5py"):
        inspect_model(golden / "cnn.keras")


def test_only_artifacts_have_operators_with_a_precision(golden):
    with pytest.raises(ModelLoadError, match="keras"):
        operator_precisions(golden / "cnn.keras")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["cnn.keras", "saved"]))
def test_damage_is_an_error_of_ours_or_harmless(golden, tmp_path, data, name):
    shutil.rmtree(tmp_path / "saved", ignore_errors=True)
    damaged = savedmodel(tmp_path / "saved") / "saved_model.pb" if name == "saved" else tmp_path / name
    content = bytearray(damaged.read_bytes() if name == "saved" else (golden / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))])

    try:
        found = inspect_model(tmp_path / name)
        json.dumps(found.to_json(), allow_nan=False)
    except TinsmithError as error:
        refused = error
        assert name in refused.message
