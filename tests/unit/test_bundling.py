"""A bundle is made of what was really seen: samples, answers, tolerances, reports."""

import json
import shutil

import numpy as np
import pytest

from tinsmith.convert.bundle_plan import BundleJob, plan_bundle
from tinsmith.convert.bundling import bundle
from tinsmith.convert.data import open_dataset
from tinsmith.convert.golden_samples import take_samples, tolerances
from tinsmith.convert.measured import read_reports
from tinsmith.convert.model import identify
from tinsmith.runtime.artifact import Artifact, Lineage, OperatorUse
from tinsmith.runtime.bundle.checking import check_golden
from tinsmith.runtime.bundle.manifest import Promise, Settings
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.secret_key import new_secret_key
from tinsmith.runtime.bundle.trust import AllowUnsigned, TrustedKeys
from tinsmith.runtime.bundle.unpacking import servable_of
from tinsmith.runtime.errors import (
    DataError,
    ModelLoadError,
    OutputError,
    UnsupportedOperatorError,
    UsageError,
    VerificationError,
)
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.postprocessing import Argmax, Postprocessing
from tinsmith.runtime.session import open_session
from tinsmith.runtime.tensors import Quantization, TensorSpec

KEY = new_secret_key()
ANYONE = AllowUnsigned()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty images with labels of three classes that have names."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.random((40, 8, 8, 1), np.float32), y=rng.integers(0, 3, 40))
    (folder / "data.yaml").write_text(
        "source: d.npz\nlabels: [left, right, '[odd]']\npreprocess:\n  - kind: scale\n    multiply: 0.5\n"
    )
    return folder / "data.yaml"


@pytest.mark.parametrize("name", ["cnn.tflite", "cnn_int8.tflite", "cnn.onnx"])
def test_what_a_device_gets_is_what_it_must_answer(golden, tmp_path, data, name):
    made = bundle(golden / name, tmp_path / "app.tin", data=data, signing_key=KEY, encryption_key=b"k" * 32)

    with open_bundle(made.path, trust=TrustedKeys(keys=(KEY.public,))) as opened:
        servable = servable_of(opened, tmp_path, key=b"k" * 32)
        assert opened.labels() == ("left", "right", "[odd]")
        assert opened.manifest == made.manifest
        assert opened.sha256 == made.sha256
    (engine,) = servable.golden.outputs
    assert servable.path.read_bytes() == (golden / name).read_bytes()
    assert [operation.kind for operation in servable.preprocessing.operations] == ["scale"]
    assert servable.reference.samples == 40
    with open_session(servable.path, engine=servable.engine) as session:
        check = check_golden(servable.golden, session.run_raw, session.inputs, engine=engine)
        assert check.samples == 8
        answered = session.run({"image": np.full((1, 8, 8, 1), 0.5, np.float32)})
    answer = servable.postprocessing.apply({name_: array[0] for name_, array in answered.items()})
    assert {found.label for found in answer.found} == {"left", "right", "[odd]"}


def test_golden_samples_are_drawn_from_what_the_user_gave(golden, tmp_path, data):
    made = bundle(golden / "cnn_int8.tflite", tmp_path / "a.tin", data=data, golden=5, seed=3)
    again = bundle(golden / "cnn_int8.tflite", tmp_path / "b.tin", data=data, golden=5, seed=3, name="a")

    assert made.path.read_bytes() == again.path.read_bytes()
    samples = np.load(data.parent / "d.npz")["x"] * 0.5
    with open_bundle(made.path, trust=ANYONE) as opened:
        inputs = opened.golden().inputs["image"]
        spec = opened.manifest.artifact.inputs[0]
    other = take_samples([spec], open_dataset(data, (spec,)), samples=5, seed=4).golden["image"]
    assert not np.array_equal(other, inputs)
    (scale,), (zero,) = spec.quantization.scale, spec.quantization.zero_point
    stored = np.clip(np.rint(samples / scale) + zero, -128, 127).astype(np.int8)
    assert inputs.dtype == np.int8
    assert len({array.tobytes() for array in inputs} & {array.tobytes() for array in stored}) == 5
    assert "5 samples of data.yaml, drawn by seed 3" in made.manifest.golden.origin


def test_few_samples_are_not_repeated_but_where_a_batch_is_fixed(tmp_path):
    spec = TensorSpec(name="x", dtype="float32", shape=(None, 2))
    np.savez(tmp_path / "d.npz", x=np.arange(6, dtype=np.float32).reshape(3, 2))

    for batch, count in ((None, 3), (1, 3), (2, 4), (5, 5)):
        fixed = TensorSpec(name="x", dtype="float32", shape=(batch, 2))
        dataset = open_dataset(tmp_path / "d.npz", (spec,))
        taken = take_samples([fixed], dataset, samples=8, seed=0)
        assert taken.golden["x"].shape == (count, 2)
        assert "3 samples of d.npz" in taken.origin
        assert len(taken.reference) == 3
        assert len(take_samples([fixed], None, samples=8, seed=0).golden["x"]) == (10 if batch == 5 else 8)


def test_a_file_name_that_a_device_may_not_take_is_refused(golden, tmp_path):
    for name in ("a:b.tflite", "a\\b.tflite", "con?.tflite"):
        shutil.copy(golden / "dense.tflite", tmp_path / name)
        with pytest.raises(UsageError, match="not every device"):
            bundle(tmp_path / name, tmp_path / "a.tin")


def test_without_samples_inputs_are_random_and_it_is_said(golden, tmp_path):
    made = bundle(golden / "dense.tflite", tmp_path / "a.tin")

    assert made.manifest.golden.origin == "8 seeded random samples"
    assert made.manifest.preprocessing is None
    assert "reference.json" not in {part.name for part in made.manifest.parts}
    assert any("golden inputs are random" in note for note in made.notes)
    assert any("not signed" in note for note in made.notes)


def test_versions_rise_by_themselves_and_never_fall(golden, tmp_path):
    output = tmp_path / "a.tin"

    def version(**settings):
        return plan_bundle(BundleJob(artifact=golden / "dense.tflite", output=output, **settings)).version

    assert (version(), version(version=7)) == (1, 7)
    assert bundle(golden / "dense.tflite", output, golden=1, version=7).manifest.version == 7
    assert (version(), version(version=7), version(version=9)) == (8, 7, 9)
    with pytest.raises(UsageError, match="versions only rise"):
        version(version=3)
    assert version(name="other") == 1


def test_what_is_at_the_output_and_no_bundle_is_kept(golden, tmp_path):
    (tmp_path / "a.tin").write_bytes(b"something else")

    with pytest.raises(UsageError, match="can't be read as a bundle"):
        bundle(golden / "dense.tflite", tmp_path / "a.tin", version=1)
    with pytest.raises(UsageError, match="names no bundle"):
        bundle(golden / "dense.tflite", tmp_path / "a.tflite")
    with pytest.raises(DataError, match="no name for a bundle"):
        bundle(golden / "dense.tflite", tmp_path / "a b.tin")
    with pytest.raises(OutputError):
        bundle(golden / "dense.tflite", tmp_path / "none" / "a.tin")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tin"]
    assert (tmp_path / "a.tin").read_bytes() == b"something else"


def test_settings_come_from_the_profile(golden, tmp_path):
    made = bundle(golden / "cnn.tflite", tmp_path / "b.tin", device="generic-armv7", golden=1, threads=1, instances=2)
    assert (made.manifest.settings.engine, made.manifest.settings.threads) == ("tflite-runtime", 1)
    assert made.manifest.settings.instances == 2
    assert made.manifest.golden.versions.keys() == {"litert"}
    assert any("tflite-runtime is not installed here" in note for note in made.notes)

    with pytest.raises(UnsupportedOperatorError):
        bundle(golden / "cnn.onnx", tmp_path / "c.tin", device="beaglebone-black")
    with pytest.raises(UsageError, match="has no engine litert"):
        bundle(golden / "cnn.tflite", tmp_path / "c.tin", device="generic-armv7", engine="litert")
    with pytest.raises(UsageError, match="has no accelerator cuda"):
        bundle(golden / "cnn.tflite", tmp_path / "c.tin", device="raspberry-pi-4", accelerator="cuda,cpu")
    assert not (tmp_path / "c.tin").exists()


def test_external_data_come_along(tmp_path, golden):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(golden / "dense.onnx")
    (tmp_path / "model").mkdir()
    onnx.save(model, tmp_path / "model" / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "model" / "m.data").stat().st_size

    made = bundle(tmp_path / "model" / "m.onnx", tmp_path / "a.tin", golden=2)

    with open_bundle(made.path, trust=ANYONE) as opened:
        servable = servable_of(opened, tmp_path)
    assert sorted(p.name for p in servable.path.parent.iterdir()) == ["m.data", "m.onnx"]
    with open_session(servable.path) as session:
        session.run_raw(session.zeros())


def described(path):
    lineage = Lineage(source="x", source_format="onnx", source_sha256="", steps=())
    ends = {"inputs": (), "outputs": (), "operators": ()}
    return Artifact(path=path, format="tflite", sha256=sha256_of(path), size_bytes=1, lineage=lineage, **ends)


def test_metrics_and_promises_are_read_from_reports_about_this_very_artifact(golden, tmp_path):
    artifact = described(golden / "dense.tflite")
    scored = {"model": "elsewhere/dense.tflite", "metric": "auc", "score": 0.75, "accuracy": 0.5}
    timed = {
        "artifact_sha256": artifact.sha256,
        "device": "local",
        "engine": "litert",
        "engine_version": "9.9",
        "accelerator": "cpu",
        "threads": 1,
        "p50_ms": 1.5,
        "p90_ms": None,
    }

    def read(*documents):
        paths = []
        for number, document in enumerate(documents):
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(json.dumps(document))
        return read_reports(paths, artifact, Settings(device="local", engine="litert"))

    measured = read({"evaluations": [{"model": "x"}, scored]}, {"measurements": [timed]})
    assert measured.metrics == {"auc": 0.75, "accuracy": 0.5}
    assert measured.promise == Promise(p50_ms=1.5, source="measured on local: litert 9.9")
    for document, said in [
        ({"evaluations": [{**scored, "model": "other.tflite"}]}, "how good"),
        ({"measurements": [{**timed, "artifact_sha256": "0" * 64}]}, "sha256 is another"),
        ({"measurements": [{**timed, "threads": 4}]}, "measured with threads 4"),
        ({"measurements": [{**timed, "device": "raspberry-pi-4"}]}, "device raspberry-pi-4"),
        ({"measurements": [{**timed, "p50_ms": "fast"}]}, "no report"),
        ({"measurements": 3}, "no report"),
        ({}, "no report"),
        ([], "no report"),
    ]:
        with pytest.raises(DataError, match=said):
            read(document)
    with pytest.raises(DataError, match="cannot read"):
        read_reports([tmp_path / "none.json"], artifact, Settings(device="local", engine="litert"))


def test_what_a_user_states_wins_over_reports(golden, tmp_path):
    scored = {"model": "dense.tflite", "metric": "accuracy", "score": 0.5}
    (tmp_path / "r.json").write_text(json.dumps({"evaluations": [scored]}))
    made = bundle(
        golden / "dense.tflite",
        tmp_path / "a.tin",
        golden=1,
        reports=(tmp_path / "r.json",),
        scores={"f1": 0.25},
        promise=Promise(p90_ms=3.0, source="stated"),
    )

    assert made.manifest.metrics == {"accuracy": 0.5, "f1": 0.25}
    assert made.manifest.promise == Promise(p90_ms=3.0, source="stated")


def test_an_answer_that_can_not_be_made_is_found_before_the_bundle_is(golden, tmp_path, data):
    chosen = Postprocessing(operations=(Argmax(),))
    made = bundle(golden / "cnn.tflite", tmp_path / "a.tin", golden=1, postprocessing=chosen)
    assert made.manifest.postprocessing == ({"kind": "argmax"},)

    (data.parent / "few.yaml").write_text("source: d.npz\nlabels: [left, right, odd]\n")
    from tinsmith.runtime.postprocessing import Labels, TopK

    few = Postprocessing(operations=(TopK(k=3), Labels(names=("only",))))
    with pytest.raises(DataError, match="there are 1 names"):
        bundle(golden / "cnn.tflite", tmp_path / "b.tin", golden=1, postprocessing=few)
    assert not (tmp_path / "b.tin").exists()


def test_an_artifact_that_is_none_or_damaged_or_not_its_manifests_is_refused(golden, tmp_path):
    shutil.copy(golden / "cnn.tflite", tmp_path / "a.tflite")
    (tmp_path / "a.tflite.json").write_text(
        json.dumps(
            {
                "schema": 1,
                "file": "a.tflite",
                "format": "tflite",
                "sha256": "0" * 64,
                "size_bytes": 1,
                "inputs": [],
                "outputs": [],
                "operators": [],
                "lineage": {"source": "x", "source_format": "keras", "source_sha256": "", "steps": []},
            }
        )
    )
    with pytest.raises(VerificationError, match="not the file that its manifest"):
        bundle(tmp_path / "a.tflite", tmp_path / "a.tin")
    with pytest.raises(UsageError, match="trained model"):
        bundle(golden / "cnn.keras", tmp_path / "a.tin")
    (tmp_path / "b.tflite").write_bytes((golden / "cnn.tflite").read_bytes()[:1000])
    with pytest.raises(ModelLoadError):
        bundle(tmp_path / "b.tflite", tmp_path / "a.tin")
    with pytest.raises(ModelLoadError):
        bundle(tmp_path / "none.tflite", tmp_path / "a.tin")
    assert not (tmp_path / "a.tin").exists()


def test_a_full_disk_leaves_nothing(golden, small_disk):
    with pytest.raises(OutputError, match="No space left"):
        bundle(golden / "cnn.tflite", small_disk / "a.tin", golden=200)
    assert list(small_disk.iterdir()) == []


def test_a_model_that_draws_lots_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("RandomUniformLike", ["x"], ["noise"])
    added = onnx.helper.make_node("Add", ["x", "noise"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = onnx.helper.make_graph([node, added], "lots", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "lots.onnx")

    with pytest.raises(VerificationError, match="asked twice"):
        bundle(tmp_path / "lots.onnx", tmp_path / "a.tin")


def test_tolerances_follow_from_what_is_computed_in():
    def allowed(dtype, values, *precisions, quantized=False):
        grid = Quantization(scale=(0.1,), zero_point=(0,)) if quantized else None
        spec = TensorSpec(name="y", dtype=dtype, shape=(None, 2), quantization=grid)
        operators = [OperatorUse(name="X", version=1, count=1, precision=p) for p in precisions]
        return tolerances([spec], {"y": np.asarray([values], dtype)}, operators)["y"]

    assert allowed("int8", [1, -5], "int8", quantized=True) == 1
    assert allowed("int64", [1, 5], "int8") == 0
    assert allowed("float32", [-5, 1], "float32", "-") == pytest.approx(5e-4)
    assert allowed("float32", [0.1, 0.2], "float32") == pytest.approx(1e-4)
    assert allowed("float32", [-5, 1], "float32", "dynamic-int8") == pytest.approx(5 / 255)
    assert allowed("float32", [0, 0], "int8", "float32") == pytest.approx(1 / 255)
    assert allowed("float32", [0, 1], "float16", "float32") == pytest.approx(8 / 2**11)


def test_a_bundle_is_no_model_and_the_hint_says_what_shows_it(golden, tmp_path):
    made = bundle(golden / "dense.tflite", tmp_path / "a.tin", golden=1)

    with pytest.raises(ModelLoadError, match="is a bundle") as caught:
        identify(made.path)
    assert "bundle --show" in caught.value.hint
