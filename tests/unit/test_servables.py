"""From a path to files that nobody else writes."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tinsmith.runtime.errors import DataError, ModelLoadError, OutputError, UsageError, VerificationError
from tinsmith.runtime.server.servables import Servables, Source
from tinsmith.runtime.server.serving import Servable


def unpack(path, folder):
    """A bundle of nothing but the magic and the artifact's text."""
    content = path.read_bytes()[4:]
    if content == b"bad":
        raise VerificationError("the signature does not fit")
    (folder / "model.onnx").write_bytes(content)
    return Servable(
        name="", version="7", path=folder / "model.onnx", format="onnx",
        sha256=hashlib.sha256(content).hexdigest(), engine="onnxruntime", threads=2,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    opened = Servables(tmp_path / "store", unpack)
    yield opened
    opened.close()


def source(path, **settings):
    return Source(name="m", path=path, **settings)


def test_an_artifact_is_copied_to_a_private_folder_named_by_its_content(store, golden):
    servable = store.open(source(golden / "cnn.tflite", threads=3))

    content = (golden / "cnn.tflite").read_bytes()
    assert servable.sha256 == hashlib.sha256(content).hexdigest()
    assert servable.path == store.folder / servable.sha256 / "cnn.tflite"
    assert servable.path.read_bytes() == content
    assert store.folder.parent.stat().st_mode & 0o777 == 0o700
    assert servable.path.stat().st_mode & 0o777 == 0o400
    assert (servable.name, servable.version, servable.format, servable.threads) == ("m", "1", "tflite", 3)


def test_rewriting_the_file_in_place_does_not_touch_the_copy(store, golden, tmp_path):
    path = tmp_path / "m.onnx"
    shutil.copy(golden / "dense.onnx", path)
    servable = store.open(source(path))
    path.write_bytes(b"")

    assert servable.path.read_bytes() == (golden / "dense.onnx").read_bytes()


def test_a_bundle_is_unpacked_and_what_was_asked_for_goes_first(store, tmp_path):
    path = tmp_path / "app.tin"
    path.write_bytes(b"PK\x03\x04content")

    servable = store.open(source(path))
    assert (servable.name, servable.version, servable.engine, servable.threads) == ("m", "7", "onnxruntime", 2)
    assert servable.path.read_bytes() == b"content"
    asked = store.open(source(path, threads=4, accelerator="cuda,cpu"))
    assert (asked.threads, asked.accelerator, asked.engine) == (4, "cuda,cpu", "onnxruntime")


def test_two_bundles_with_the_same_artifact_do_not_get_into_each_others_way(store, tmp_path):
    def nested(path, folder):
        (folder / path.name).mkdir()
        return unpack(path, folder / path.name)

    store._unpack = nested
    for name in ("a.tin", "b.tin"):
        (tmp_path / name).write_bytes(b"PK\x03\x04content")
    first, second = (store.open(source(tmp_path / name)) for name in ("a.tin", "b.tin"))
    store.release(first)

    assert not first.path.exists()
    assert second.path.read_bytes() == b"content"


def test_a_copy_goes_when_its_last_user_releases_it(store, golden):
    first, second = (store.open(source(golden / "cnn.tflite")) for _ in range(2))
    assert first.path == second.path
    store.release(first)
    assert second.path.exists()
    store.release(second)

    assert [path.name for path in store.folder.iterdir()] == ["lock"]
    assert store.open(source(golden / "cnn.tflite")).path.exists()


@pytest.mark.parametrize("content", [None, b"PK\x03\x04bad", b"no model at all"])
def test_nothing_is_left_of_what_was_refused(store, tmp_path, content):
    path = tmp_path / "app.tin"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises((ModelLoadError, VerificationError)):
        store.open(source(path))

    assert [path.name for path in store.folder.iterdir()] == ["lock"]


def test_errors_name_the_path_that_the_user_knows(store, tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"no model at all")

    with pytest.raises(ModelLoadError) as refusal:
        store.open(source(path))
    assert refusal.value.message == f"{path} is no .tflite or .onnx file"


def test_a_folder_or_a_trained_model_is_refused(store, tmp_path, golden):
    with pytest.raises(ModelLoadError, match="Is a directory"):
        store.open(source(tmp_path))
    (tmp_path / "m.keras").write_bytes(b"anything")
    with pytest.raises(UsageError, match="trained model"):
        store.open(source(tmp_path / "m.keras"))


def manifest(path, **changes):
    content = path.read_bytes()
    document = {
        "schema": 1, "file": path.name, "format": "onnx", "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content), "inputs": [], "outputs": [], "operators": [], "needs": {},
        "lineage": {"source": "x", "source_format": "keras", "source_sha256": "", "steps": []}, **changes,
    }  # fmt: skip
    path.with_name(path.name + ".json").write_text(json.dumps(document))


@pytest.fixture
def with_data(golden, tmp_path):
    path = tmp_path / "m.onnx"
    shutil.copy(golden / "dense.onnx", path)
    (tmp_path / "m.onnx.data").write_bytes(b"weights")
    data = {"name": "m.onnx.data", "sha256": hashlib.sha256(b"weights").hexdigest(), "size_bytes": 7}
    manifest(path, data=[data])
    return path, data


def test_files_of_weights_that_a_manifest_names_come_along(store, with_data):
    path, _ = with_data
    servable = store.open(source(path))

    assert (servable.path.parent / "m.onnx.data").read_bytes() == b"weights"


def test_a_file_that_is_not_its_manifests_is_refused(store, with_data, tmp_path):
    path, data = with_data
    (tmp_path / "m.onnx.data").write_bytes(b"Weights")
    with pytest.raises(VerificationError, match="not the file that its manifest"):
        store.open(source(path))
    manifest(path, data=[{**data, "name": "../m.onnx.data"}])
    with pytest.raises((VerificationError, DataError)):
        store.open(source(path))


def test_a_file_that_is_written_to_while_it_is_read_is_refused(store, tmp_path, monkeypatch):
    from tinsmith.runtime.server import servables

    path = tmp_path / "m.onnx"
    path.write_bytes(b"x" * 10)
    stamps = iter([(1, 10), (2, 10)])
    monkeypatch.setattr(servables, "_stamp", lambda stream: next(stamps))

    with pytest.raises(ModelLoadError, match="written to while it was read"):
        store.open(source(path))


def test_a_full_disk_is_reported(small_disk, tmp_path):
    store = Servables(small_disk / "store", unpack)
    path = tmp_path / "m.onnx"
    path.write_bytes(b"x" * 100_000)

    with pytest.raises(OutputError, match="No space left") as raised:
        store.open(source(path))
    store.close()
    assert str(path) in raised.value.message
    assert "TMPDIR" in raised.value.hint
    assert "--output" not in raised.value.hint


def test_what_dead_servers_left_behind_goes_and_what_living_ones_use_stays(tmp_path, golden):
    root = tmp_path / "store"
    dead, alive = Servables(root, unpack), Servables(root, unpack)
    dead.open(source(golden / "cnn.tflite"))
    servable = alive.open(source(golden / "cnn.tflite"))
    dead._lock.close()
    third = Servables(root, unpack)

    assert not dead.folder.exists()
    assert servable.path.exists()
    third.close()
    alive.close()


def test_a_folder_that_others_can_write_to_is_refused(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)

    with pytest.raises(VerificationError, match="others may write"):
        Servables(tmp_path / "store", unpack)


def test_release_finds_the_folder_of_a_changed_servable(store, golden):
    servable = store.open(source(golden / "cnn.tflite"))
    store.release(replace(servable, name="other"))

    assert not Path(servable.path).exists()
