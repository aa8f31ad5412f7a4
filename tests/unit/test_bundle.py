"""A bundle comes out as it went in, the same twice, and no byte of a signed one can be changed."""

import contextlib
import hashlib
import io
import json
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.runtime.artifact import Artifact, DataFile, Lineage, OperatorUse
from tinsmith.runtime.bundle.arrays import npy_bytes
from tinsmith.runtime.bundle.manifest import (
    LABELS,
    MANIFEST,
    REFERENCE,
    GoldenParts,
    Manifest,
    Promise,
    Settings,
    manifest_bytes,
    read_manifest,
)
from tinsmith.runtime.bundle.reading import is_bundle, open_bundle
from tinsmith.runtime.bundle.secret_key import new_secret_key
from tinsmith.runtime.bundle.trust import AllowUnsigned, TrustedKeys
from tinsmith.runtime.bundle.unpacking import servable_of, unpack
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.errors import DataError, OutputError, UsageError, VerificationError
from tinsmith.runtime.files import sha256_of, staged_folder
from tinsmith.runtime.tensors import Quantization, TensorSpec

KEY = new_secret_key()
TRUST = TrustedKeys(keys=(KEY.public,))
ANYONE = AllowUnsigned()
IMAGE = TensorSpec(
    name="image", dtype="int8", shape=(None, 2, 3), quantization=Quantization(scale=(0.5,), zero_point=(-3,))
)
SCORE = TensorSpec(name="score/ü", dtype="float32", shape=(None, 2))
LABEL_NAMES = ["cat", "dog"]


def digest(content):
    return hashlib.sha256(content).hexdigest()


def artifact_of_bytes(content, beside=b"weights"):
    return Artifact(
        path=Path("small [1] ü.tflite"),
        format="tflite",
        sha256=digest(content),
        size_bytes=len(content),
        inputs=(IMAGE,),
        outputs=(SCORE,),
        operators=(OperatorUse(name="CONV_2D", version=3, count=2, precision="int8"),),
        lineage=Lineage(source="m.keras", source_format="keras", source_sha256="0" * 64, steps=({"kind": "slim"},)),
        data=(DataFile(name="small.data", sha256=digest(beside), size_bytes=len(beside)),),
        needs={"TFLite runtime": "2.3.0"},
    )


def golden_arrays(samples=3):
    rng = np.random.default_rng(0)
    return (
        rng.integers(-128, 128, (samples, 2, 3)).astype(np.int8),
        rng.random((samples, 2)).astype(np.float32),
    )


def whole_manifest(content, **changes):
    facts = {
        "name": "cats",
        "version": 3,
        "artifact": artifact_of_bytes(content),
        "parts": (),
        "settings": Settings(device="local", engine="litert", threads=2, instances=3),
        "preprocessing": ({"kind": "scale", "multiply": 2.0, "offset": 0.0},),
        "postprocessing": ({"kind": "softmax"}, {"kind": "top-k", "k": 2}),
        "metrics": {"accuracy": 0.5},
        "promise": Promise(p90_ms=12.0, source="stated"),
        "golden": GoldenParts(
            samples=3,
            origin="3 samples of x.npz",
            inputs={"image": "golden/inputs/0.npy"},
            outputs={"litert": {"score/ü": "golden/litert/0.npy"}},
            tolerance={"litert": {"score/ü": 0.25}},
            versions={"litert": "2.3.0"},
        ),
    }
    return Manifest(**{**facts, **changes})


def all_contents(content, beside=b"weights"):
    image, score = golden_arrays()
    return {
        "artifact/small [1] ü.tflite": content,
        "artifact/small.data": beside,
        "golden/inputs/0.npy": npy_bytes(image),
        "golden/litert/0.npy": npy_bytes(score),
        LABELS: json.dumps(LABEL_NAMES).encode(),
        REFERENCE: b'{"samples": 4, "inputs": {}, "outputs": {}}',
    }


@pytest.fixture
def written(tmp_path):
    """Writes a bundle: (content, keys...) -> its path."""

    def call(content=b"TFL3 model", path=None, changes=None, contents=None, **keys):
        path = path or tmp_path / "app.tin"
        parts = {**all_contents(content), **(contents or {})}
        write_bundle(path, whole_manifest(content, **(changes or {})), parts, **keys)
        return path

    return call


def test_a_bundle_comes_back_as_it_went_in(written, tmp_path):
    path = written(signing_key=KEY)

    with open_bundle(path, trust=TRUST) as bundle:
        servable = servable_of(bundle, tmp_path)
        golden = bundle.golden()
        assert bundle.labels() == ("cat", "dog")
        assert bundle.signed_by == KEY.public
        assert bundle.manifest.promise.p90_ms == 12.0
        assert bundle.manifest.artifact == artifact_of_bytes(b"TFL3 model")

    image, score = golden_arrays()
    assert np.array_equal(golden.inputs["image"], image)
    assert np.array_equal(golden.outputs["litert"]["score/ü"], score)
    assert golden.tolerance == {"litert": {"score/ü": 0.25}}
    assert servable.path.read_bytes() == b"TFL3 model"
    assert servable.path.with_name("small.data").read_bytes() == b"weights"
    assert (servable.name, servable.version, servable.engine, servable.threads) == ("cats", "3", "litert", 2)
    assert servable.preprocessing.to_json() == [{"kind": "scale", "multiply": 2.0, "offset": 0.0}]
    assert [operation.kind for operation in servable.postprocessing.operations] == ["softmax", "top-k"]
    assert servable.reference.samples == 4
    assert servable.promise == Promise(p90_ms=12.0, source="stated")
    assert is_bundle(path)
    assert not is_bundle(servable.path)


@settings(max_examples=10)
@given(content=st.binary(max_size=300), key=st.one_of(st.none(), st.binary(min_size=32, max_size=32)))
def test_the_same_input_gives_the_same_bytes(tmp_path_factory, content, key):
    folder = tmp_path_factory.mktemp("same")
    for name in ("a.tin", "b.tin"):
        manifest = write_bundle(
            folder / name, whole_manifest(content), all_contents(content), signing_key=KEY, encryption_key=key
        )

    assert (folder / "a.tin").read_bytes() == (folder / "b.tin").read_bytes()
    with open_bundle(folder / "a.tin", trust=TRUST) as bundle:
        assert bundle.manifest == manifest
        assert unpack(bundle, folder, key=key).read_bytes() == content


def test_other_programs_read_the_zip_file(written):
    with zipfile.ZipFile(written()) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == MANIFEST
        assert archive.namelist()[-2:] == ["artifact/small [1] ü.tflite", "artifact/small.data"]
        assert archive.read("artifact/small.data") == b"weights"
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_no_byte_of_a_signed_bundle_can_be_changed(written, tmp_path):
    content = bytearray(written(signing_key=KEY).read_bytes())
    changed = tmp_path / "changed.tin"
    for at in range(0, len(content), 29):  # all of them once took half a minute, and were refused
        content[at] ^= 1 << at % 8
        changed.write_bytes(content)
        with pytest.raises((VerificationError, DataError)):
            open_bundle(changed, trust=TRUST)
        content[at] ^= 1 << at % 8


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_done_to_an_unsigned_bundle_is_an_error_or_harmless(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    write_bundle(folder / "a.tin", whole_manifest(b"model"), all_contents(b"model"))
    content = bytearray((folder / "a.tin").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "drop"]))
        if kind == "set" and content:
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[max(1, at) :]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(max_size=40))
        else:
            del content[at : at + data.draw(st.integers(1, 40))]
    (folder / "b.tin").write_bytes(content)
    with contextlib.suppress(DataError, VerificationError), open_bundle(folder / "b.tin", trust=ANYONE) as bundle:
        servable_of(bundle, folder)


def test_trust(written, tmp_path):
    other = new_secret_key()
    signed, unsigned = written(signing_key=KEY), written(path=tmp_path / "plain.tin")

    for path, trust, said in [
        (unsigned, TRUST, "is not signed"),
        (signed, TrustedKeys(keys=(other.public,)), "and trusted is"),
        (signed, TrustedKeys(keys=(replace(other.public, id=KEY.id),)), "manifest or signature was changed"),
        (signed, TrustedKeys(keys=(KEY.public, replace(other.public, id=KEY.id))), "two trusted keys"),
    ]:
        with pytest.raises(VerificationError, match=said):
            open_bundle(path, trust=trust)
    for path in (signed, unsigned):
        open_bundle(path, trust=ANYONE).close()
    open_bundle(signed, trust=TrustedKeys(keys=(other.public, KEY.public))).close()
    with pytest.raises(ValueError, match="nobody is trusted"):
        TrustedKeys(keys=())


def test_a_signature_of_another_bundle_is_no_signature(written, tmp_path):
    one, other = written(signing_key=KEY), written(b"other", path=tmp_path / "other.tin", signing_key=KEY)
    parts = {info.filename: zipfile.ZipFile(one).read(info) for info in zipfile.ZipFile(one).infolist()}
    parts["manifest.json.minisig"] = zipfile.ZipFile(other).read("manifest.json.minisig")
    packed = tmp_path / "mixed.tin"
    pack(packed, list(parts.items()))

    with pytest.raises(VerificationError, match="changed"):
        open_bundle(packed, trust=TRUST)


def test_only_later_versions_are_opened_where_one_is_in_use(written):
    path = written(signing_key=KEY)
    open_bundle(path, trust=TRUST, newer_than=2).close()

    for version in (3, 4):
        with pytest.raises(VerificationError, match=f"version {version} is in use"):
            open_bundle(path, trust=TRUST, newer_than=version)


def pack(path, parts, **info):
    """A zip file of parts in the form of a bundle, whatever the parts are."""
    from tinsmith.runtime.bundle.container import Entry, crc_of, write_entries

    with path.open("wb") as stream:
        entries = [Entry(name=name, crc=crc_of([content]), size_bytes=len(content)) for name, content in parts]
        write_entries(stream, [(entry, [content]) for entry, (_, content) in zip(entries, parts, strict=True)])


def parts_of(path):
    with zipfile.ZipFile(path) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "a/../../b", "a\\b", "C:evil", "a//b", "./a", "a/", "nul\0", "line\n", "a. ", "x" * 300],
)
def test_a_path_that_is_not_one_below_the_folder_is_refused(written, tmp_path, name):
    packed = tmp_path / "evil.tin"
    pack(packed, [*parts_of(written()), (name, b"x")])

    with pytest.raises(DataError, match=r"no safe path|a name of"):
        open_bundle(packed, trust=ANYONE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["app.tin", "evil.tin"]


def test_parts_that_are_missing_too_many_twice_or_in_another_order_are_refused(written, tmp_path):
    parts = parts_of(written())
    packed = tmp_path / "bad.tin"
    for changed, error, said in [
        (parts[:-1], VerificationError, "small.data is missing"),
        ([*parts, ("extra", b"x")], VerificationError, "does not know 'extra'"),
        ([*parts, parts[0]], DataError, "holds 'manifest.json' twice"),
        ([*parts, ("MANIFEST.json", parts[0][1])], DataError, "twice"),
        ([parts[0], parts[2], parts[1], *parts[3:]], VerificationError, "another order"),
        (parts[1:], DataError, "does not begin with manifest.json"),
        ([parts[1], parts[0], *parts[2:]], DataError, "does not begin with manifest.json"),
        ([*parts[:-1], (parts[-1][0], b"weighty")], VerificationError, "sha256 differs"),
        ([*parts[:-1], (parts[-1][0], b"longer weights")], VerificationError, "the manifest says 7"),
        ([(MANIFEST, b" " * (17 << 20)), *parts[1:]], DataError, "is the most"),
        ([parts[0], ("manifest.json.minisig", b"x" * 9000), *parts[1:]], DataError, "is the most"),
    ]:
        pack(packed, changed)
        with pytest.raises(error, match=said):
            open_bundle(packed, trust=ANYONE)


def zipped(path, parts, *, comment=b"", front=b"", compression=zipfile.ZIP_STORED, external=0o100644):
    """What other programs make."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.comment = comment
        for name, content in parts:
            info = zipfile.ZipInfo(name)
            info.external_attr = external << 16
            info.compress_type = compression
            archive.writestr(info, content)
    path.write_bytes(front + stream.getvalue())


def test_other_forms_of_zip_are_refused_with_their_reason(written, tmp_path):
    parts = parts_of(written())
    whole = written().read_bytes()
    path = tmp_path / "form.tin"
    for make, said in [
        (lambda: zipped(path, parts, comment=b"hello"), "comment or other data at its end"),
        (lambda: zipped(path, parts, compression=zipfile.ZIP_DEFLATED), r"compressed \(method 8\)"),
        (lambda: zipped(path, parts, external=0o120777), "is a link"),
        (lambda: zipped(path, parts, front=b"#!/bin/sh\n"), "no zip file"),
        (lambda: zipped(path, parts, external=0o100755), "never writes"),
        (lambda: path.write_bytes(whole + b"\0"), "cut off, or has a comment"),
        (lambda: path.write_bytes(whole[:-5]), "cut off"),
        (lambda: path.write_bytes(whole[:200]), "cut off"),
        (lambda: path.write_bytes(b""), "no zip file"),
        (lambda: path.write_bytes(b"PK"), "no zip file"),
        (lambda: path.write_bytes(b"not a zip file at all, but long enough to be one"), "no zip file"),
        (lambda: path.write_bytes(encrypted_in_zips_way(whole)), "encrypted in zip's own way"),
    ]:
        make()
        with pytest.raises(DataError, match=said):
            open_bundle(path, trust=ANYONE)
    with pytest.raises(DataError, match="No such file"):
        open_bundle(tmp_path / "none.tin", trust=ANYONE)
    with pytest.raises(DataError, match="Is a directory"):
        open_bundle(tmp_path, trust=ANYONE)


def encrypted_in_zips_way(content):
    """The flag set in the first entry of the directory."""
    changed = bytearray(content)
    changed[changed.index(b"PK\1\2") + 8] |= 1
    return bytes(changed)


def test_a_bomb_of_entries_that_share_their_bytes_is_refused(tmp_path):
    """Fifield's: every entry of the directory names the same large content."""
    content = b"\0" * 1000
    pack(tmp_path / "one.tin", [(MANIFEST, content)])
    raw = (tmp_path / "one.tin").read_bytes()
    start = raw.index(b"PK\1\2")
    entry = raw[start:-22]
    directory = b"".join(entry.replace(MANIFEST.encode(), f"manifest.{n:04}".encode()) for n in range(50))
    end = raw[-22:-14] + (50).to_bytes(2, "little") * 2 + len(directory).to_bytes(4, "little") + raw[-6:]
    (tmp_path / "bomb.tin").write_bytes(raw[:start] + directory + end)

    with pytest.raises(DataError, match="disagree"):
        open_bundle(tmp_path / "bomb.tin", trust=ANYONE)


def test_an_array_that_claims_more_than_it_holds_is_refused_before_room_is_made(written):
    image, _ = golden_arrays()
    header = npy_bytes(image)[:128].replace(b"(3, 2, 3)", b"(3, 2, 3)")
    huge = npy_bytes(np.zeros((3, 2, 3), np.int8)).replace(b"'shape': (3, 2, 3), ", b"'shape': (3,2,10**9),")
    for bad, said in [
        (header, "not as many bytes"),
        (npy_bytes(image)[:-1], "not as many bytes"),
        (npy_bytes(image) + b"\0", "not as many bytes"),
        (npy_bytes(image[:2]), "3 samples of 'image' are wanted"),
        (npy_bytes(image.astype(np.int16)), "holds int16"),
        (npy_bytes(image.astype(">i2")), "holds int16"),
        (npy_bytes(image.reshape(3, 3, 2)), r"holds int8 \[3, 3, 2\]"),
        (huge, "no .npy file|holds"),
        (b"", "no .npy file"),
        (npy_bytes(image).replace(b"(3, 2, 3)", b"((((((((("), "no .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "no .npy file"),
        (object_array(), "holds object"),
    ]:
        path = written(contents={"golden/inputs/0.npy": bad})
        with open_bundle(path, trust=ANYONE) as bundle, pytest.raises(DataError, match=said):
            bundle.golden()


def object_array():
    stream = io.BytesIO()
    np.save(stream, np.asarray([[[1, "x"]]], dtype=object), allow_pickle=True)
    return stream.getvalue()


def paths_of(document, at=()):
    yield at
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from paths_of(value, (*at, key))


FREE = {"steps", "preprocessing", "postprocessing"}


def test_every_field_of_the_manifest_is_held_to_its_type():
    good = manifest_of_written()
    for path in paths_of(json.loads(good)):
        if not path or FREE & set(path) or path == ("artifact", "data"):
            continue
        for wrong in ({"a": {}}, [[None]], True, -1, "?", None, 1e300):
            changed = json.loads(good)
            place = changed
            for key in path[:-1]:
                place = place[key]
            if place[path[-1]] == wrong or equally_good(path, wrong):
                continue
            place[path[-1]] = wrong
            with pytest.raises(DataError) as caught:
                read_manifest(json.dumps(changed).encode())
            assert (
                "manifest.json" in caught.value.message
                or "the bundle holds" in caught.value.message
                or ("no name for a bundle" in caught.value.message)
            )


def equally_good(path, wrong):
    """Values that such a field may have."""
    texts = {"origin", "source", "source_format", "source_sha256", "data_sha256", "precision", "accelerator", "dtype",
             "name", "device", "TFLite runtime", "litert", "file"}  # fmt: skip
    if isinstance(wrong, str):
        return path[-1] in texts and path != ("name",) and path[0] not in ("parts",)
    if wrong is None:
        return path in {("preprocessing",), ("postprocessing",), ("golden",), ("encryption",)} or path[-1] in (
            "quantization", "axis", "p50_ms", "p90_ms") or "shape" in path[:-1]  # fmt: skip
    if isinstance(wrong, float):
        return path[-1] in ("p50_ms", "p90_ms", "accuracy", "score/ü") or "scale" in path
    if wrong == -1:
        return path[-1] == "accuracy" or "zero_point" in path
    return path[-1] == "custom"


def manifest_of_written():
    whole = whole_manifest(b"m")
    path = Path("written.tin")
    written = write_bundle(path, whole, all_contents(b"m"), encryption_key=b"k" * 32)
    path.unlink()
    return manifest_bytes(written)


def test_every_field_of_the_manifest_must_be_there_and_no_other():
    document = json.loads(manifest_of_written())
    optional = {"needs", "custom", "seed", "data_sha256", "tools", "device", "data"}
    for path in list(paths_of(document)):
        place = document
        for key in path[:-1]:
            place = place[key]
        if not path or not isinstance(place, dict) or FREE & set(path[:-1]):
            continue
        if path[-1] in optional or path[:-1] in {("metrics",), ("golden", "versions")} or path[-2:-1] == ("needs",):
            continue
        kept = place.pop(path[-1])
        with pytest.raises(DataError):
            read_manifest(json.dumps(document).encode())
        place[path[-1]] = kept
    for place in (document, document["artifact"], document["parts"][0], document["golden"], document["settings"]):
        place["more"] = 1
        with pytest.raises(DataError, match="unknown key: "):
            read_manifest(json.dumps(document).encode())
        del place["more"]
    read_manifest(json.dumps(document).encode())


@pytest.mark.parametrize("what", ["threads", "instances"])
def test_a_bundle_can_not_make_its_device_start_a_million_threads(what):
    said = json.loads(manifest_bytes(whole_manifest(b"TFL3 model")))
    said["settings"][what] = 1_000_000

    with pytest.raises(DataError, match=f"{what} = 1000000"):
        read_manifest(json.dumps(said).encode())
    with pytest.raises(DataError, match=what):
        Settings(device="local", engine="litert", **{what: 1_000_000})


def test_a_manifest_that_is_damaged_deep_newer_or_two_things_at_once_is_refused():
    good = manifest_of_written()
    for content, said in [
        (b"{", "damaged"),
        (b"[]", "no object"),
        (b"\xff", "damaged"),
        (b'{"schema": 1' + b"0" * 5000 + b"}", "damaged"),
        (b"[" * 100_000 + b"]" * 100_000, "nests too deep"),
        (good.replace(b'"schema": 1,\n "settings"', b'"schema": 2,\n "settings"'), "newer than this tinsmith knows"),
        (good.replace(b'"version": 3\n', b'"version": 3, "version": 4\n'), "named twice"),
        (good.replace(b'"accuracy": 0.5', b'"accuracy": NaN'), "NaN"),
        (good.replace(b'"accuracy": 0.5', b'"accuracy": 1e999'), "finite"),
    ]:
        assert content != good
        with pytest.raises(DataError, match=said):
            read_manifest(content)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (REFERENCE, b"{"),
        (REFERENCE, b"[]"),
        (REFERENCE, b'{"samples": 1, "inputs": {"image": {"mean": {"edges": [1, 0], "counts": [1]}}}, "outputs": {}}'),
        (LABELS, b'{"cat": 1}'),
        (LABELS, b'["cat", 1]'),
        (LABELS, b"["),
    ],
)
def test_a_reference_or_labels_that_are_none_are_an_error_of_data(written, part, content):
    with open_bundle(written(contents={part: content}), trust=ANYONE) as bundle, pytest.raises(DataError, match=part):
        (bundle.reference if part == REFERENCE else bundle.labels)()


def test_operations_that_are_none_are_an_error_of_data(written):
    for side in ("preprocessing", "postprocessing"):
        for said in (
            {},
            {"kind": "magic"},
            {"kind": []},
            {"kind": "top-k", "k": "x"},
            {"kind": "scale", "multiply": {}},
        ):
            with open_bundle(written(changes={side: (said,)}), trust=ANYONE) as bundle, pytest.raises(DataError):
                getattr(bundle, side)()


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", ".hidden", "x" * 129, "ü", "a..b"])
def test_a_name_that_fits_no_address_is_refused(name):
    with pytest.raises(DataError):
        read_manifest(manifest_bytes(whole_manifest(b"m", name=name)))


def test_unpacking_twice_gives_the_same_folder_and_mends_a_damaged_one(written, tmp_path):
    home = tmp_path / "models"
    home.mkdir()
    with open_bundle(written(), trust=ANYONE) as bundle:
        first = unpack(bundle, home)
        before = first.stat().st_ino
        assert unpack(bundle, home) == first
        assert first.stat().st_ino == before
        assert first.parent.name == bundle.sha256

        first.write_bytes(b"TFL3 modem")
        assert unpack(bundle, home).read_bytes() == b"TFL3 model"
        first.with_name("small.data").unlink()
        unpack(bundle, home)
        assert sha256_of(first.with_name("small.data")) == digest(b"weights")
    assert [p.name for p in home.iterdir()] == [first.parent.name]
    assert first.parent.stat().st_mode & 0o077 == 0


def test_many_that_unpack_at_once_get_the_same_whole_folder(written, tmp_path):
    path = written(b"TFL3" + bytes(1 << 16))
    start = threading.Barrier(8)

    def unpacked(_):
        with open_bundle(path, trust=ANYONE) as bundle:
            start.wait()
            found = unpack(bundle, tmp_path)
        return found, sha256_of(found)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(unpacked, range(8)))) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_is_whole_or_not_there(tmp_path):
    home = tmp_path / "home"

    def fail():
        with staged_folder(home) as staged:
            (staged / "half").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []

    for content in ("first", "second"):
        with staged_folder(home) as staged:
            (staged / "inner").mkdir()
            (staged / "inner" / "x").write_text(content)
    assert (home / "inner" / "x").read_text() == "first"
    assert list(tmp_path.iterdir()) == [home]
    with pytest.raises(OutputError, match="No such file"), staged_folder(tmp_path / "none" / "x"):
        pass


def test_unpacking_to_where_nothing_can_be_written_is_an_error_and_leaves_nothing(written, tmp_path, small_disk):
    with open_bundle(written(b"TFL3" + bytes(50_000)), trust=ANYONE) as bundle:
        for folder in (small_disk, tmp_path / "none"):
            with pytest.raises(OutputError):
                unpack(bundle, folder)
    assert list(small_disk.iterdir()) == []


def test_a_bundle_that_changes_behind_our_back_is_noticed(written, tmp_path):
    path = written(b"TFL3" + bytes(3 << 20))
    with open_bundle(path, trust=ANYONE) as bundle:
        with path.open("r+b") as stream:
            stream.seek(-(2 << 20), 2)
            stream.write(b"x")
        with pytest.raises(VerificationError):
            unpack(bundle, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["app.tin"]


def test_encryption(written, tmp_path):
    key, other = b"k" * 32, b"o" * 32
    path = written(encryption_key=key, signing_key=KEY)
    assert b"TFL3 model" not in path.read_bytes()
    assert key not in path.read_bytes()

    with open_bundle(path, trust=TRUST) as bundle:
        assert bundle.manifest.artifact.sha256 == digest(b"TFL3 model")
        assert unpack(bundle, tmp_path, key=key).read_bytes() == b"TFL3 model"
    with open_bundle(path, trust=TRUST) as bundle:
        with pytest.raises(UsageError, match="no key is given"):
            unpack(bundle, tmp_path / "x")
        with pytest.raises(VerificationError, match="the one given is"):
            unpack(bundle, tmp_path / "x", key=other)


def test_no_nonce_serves_two_contents_and_nothing_decrypts_elsewhere(written, tmp_path):
    key = b"k" * 32
    seen = {}
    for number, (content, changes) in enumerate(
        [(b"one", {}), (b"two", {}), (b"one", {"version": 4}), (b"one", {"name": "dogs"}), (b"", {})]
    ):
        path = written(content, path=tmp_path / f"{number}.tin", changes=changes, encryption_key=key)
        with open_bundle(path, trust=ANYONE) as bundle:
            seen[number] = bundle.manifest.encryption.nonces["artifact/small [1] ü.tflite"]
    assert len(set(seen.values())) == len(seen)

    # an unsigned manifest that says another version over the same ciphertext
    parts = dict(parts_of(tmp_path / "0.tin"))
    parts[MANIFEST] = parts[MANIFEST].replace(b'"version": 3\n', b'"version": 9\n')
    pack(tmp_path / "moved.tin", list(parts.items()))
    with open_bundle(tmp_path / "moved.tin", trust=ANYONE) as bundle:
        assert bundle.manifest.version == 9
        with pytest.raises(VerificationError, match="can't be decrypted"):
            unpack(bundle, tmp_path, key=key)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_reading_needs_neither_numpy_nor_cryptography_until_they_are_used(written):
    """A server that waits, and a board that only checks, pay for what they use."""
    path = written()
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from tinsmith.runtime.bundle.reading import open_bundle\n"
        "from tinsmith.runtime.bundle.trust import AllowUnsigned\n"
        f"with open_bundle(Path({str(path)!r}), trust=AllowUnsigned()) as bundle:\n"
        "    assert bundle.manifest.name == 'cats' and bundle.labels()\n"
        "import tinsmith.runtime.bundle.unpacking, tinsmith.runtime.bundle.writing\n"
        "print(*(name for name in sys.modules if '.' not in name))\n"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"numpy", "cryptography", "click", "rich", "pydantic"} & set(loaded)
