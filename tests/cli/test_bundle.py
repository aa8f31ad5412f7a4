"""``tinsmith bundle``: keys, making, showing, and what is refused."""

import hashlib
import json
import shutil
import stat
import subprocess
import zipfile

import numpy as np
import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twenty images with labels of three classes that have names."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.random((20, 8, 8, 1), np.float32), y=rng.integers(0, 3, 20))
    (folder / "data.yaml").write_text("source: d.npz\nlabels: [left, right, '[odd]']\n")
    return folder / "data.yaml"


def said(out):
    return json.loads(out)


def test_from_key_to_verified_bundle(golden, data, tmp_path, cli, caplog):
    code, out, _ = cli("bundle", "--new-key", "me", "--new-encryption-key", "e.key")
    assert code == 0
    assert "me.key has no password" in caplog.text
    assert stat.S_IMODE((tmp_path / "me.key").stat().st_mode) == 0o600
    assert (tmp_path / "me.pub").read_text().splitlines()[1] in out

    make = ["bundle", golden / "cnn_int8.tflite", "-o", "app.tin", "--data", data, "--name", "cats", "--key", "me.key"]
    make += ["--encryption-key", "e.key", "--promise", "p90=0.012s", "--score", "accuracy=0.5", "--version", "4"]
    code, out, err = cli(*make)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    for words in (
        "cats, version 4",
        "encrypted by the key",
        "p90 12 ms (stated)",
        "accuracy 0.5",
        "± 1",
        "top-k → labels",
    ):
        assert words in out

    first = (tmp_path / "app.tin").read_bytes()
    code, out, _ = cli(*make, "--format", "json")
    assert (tmp_path / "app.tin").read_bytes() == first
    assert said(out)["bundle"]["manifest"]["promise"] == {"p50_ms": None, "p90_ms": 12.0, "source": "stated"}

    file_sha256 = hashlib.sha256(first).hexdigest()
    assert said(out)["bundle"]["file_sha256"] == file_sha256

    code, out, err = cli("bundle", "--show", "app.tin", "--trust", "me.pub")
    assert (code, err) == (0, "")
    assert f"{file_sha256} (of the file)" in out
    assert "which is trusted" in out
    assert "[odd]" in out
    assert max(map(len, out.splitlines())) <= 100
    line = (tmp_path / "me.pub").read_text().splitlines()[1]
    code, out, _ = cli("bundle", "app.tin", "--show", "--trust", line, "--format", "json")
    document = said(out)["bundle"]
    assert document["signed_by"] == document["signature"]
    assert document["labels"] == ["left", "right", "[odd]"]
    code, out, _ = cli("bundle", "app.tin", "--show")
    assert code == 0
    assert "not checked" in out


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed: make judges")
def test_minisign_verifies_a_bundle_and_we_sign_with_its_key(golden, tmp_path, cli):
    subprocess.run(["minisign", "-G", "-W", "-p", "m.pub", "-s", "m.key"], check=True, capture_output=True)
    assert cli("bundle", golden / "dense.tflite", "-o", "a.tin", "--golden", "1", "--key", "m.key")[0] == 0
    with zipfile.ZipFile("a.tin") as archive:
        archive.extract("manifest.json")
        archive.extract("manifest.json.minisig")

    checked = subprocess.run(
        ["minisign", "-Vm", "manifest.json", "-p", "m.pub"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0
    assert "name:a\tversion:1" in checked.stdout
    assert cli("bundle", "--show", "a.tin", "--trust", "m.pub")[0] == 0


@pytest.fixture
def refused(cli, tmp_path):
    """Run a command that must fail: nothing on stdout, nothing left behind; gives its exit code and message."""

    def call(*arguments):
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        code, out, err = cli(*arguments)
        assert out == ""
        assert err.startswith("error: ")
        assert "\nhint:  " in err
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
        return code, err

    return call


def test_what_can_not_be_is_an_error_of_usage(golden, refused, cli, tmp_path):
    model = golden / "dense.tflite"
    cli("bundle", "--new-key", "me", "--new-encryption-key", "e.key")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "half.json").write_text("[{")
    for arguments, words in [
        ([], "name the artifact"),
        ([model], "--output"),
        (["--show"], "name the bundle"),
        ([model, "-o", "a.tin", "--trust", "me.pub"], "trust has nothing to do here"),
        (["--show", "a.tin", "--key", "me.key"], "key has nothing to do here"),
        (["--new-key", "k", "-o", "a.tin"], "output has nothing to do here"),
        (["--new-key", "me"], "never overwritten"),
        (["--new-encryption-key", "e.key"], "never overwritten"),
        (["--new-encryption-key", "f.key", "--password-file", "empty"], "has no password"),
        (["--new-key", "k", "--password-file", "empty"], "holds no password"),
        (["--new-key", "k", "--password-file", "none"], "cannot read the password"),
        ([model, "-o", "a.tin", "--key", "me.pub"], "no secret key"),
        ([model, "-o", "a.tin", "--key", "none"], "cannot read the secret key"),
        ([model, "-o", "a.tin", "--password-file", "empty"], "no key"),
        ([model, "-o", "a.tin", "--encryption-key", "me.key"], "no encryption key"),
        ([model, "-o", "a.tflite"], "names no bundle"),
        ([model, "-o", "a.tin", "--name", "a b"], "no name for a bundle"),
        ([model, "-o", "a.tin", "-d", "toaster"], "no profile"),
        ([model, "-o", "a.tin", "--engine", "onnxruntime"], "does not run tflite"),
        ([model, "-o", "a.tin", "--promise", "p99=1ms"], "states no latency"),
        ([model, "-o", "a.tin", "--promise", "p90=0ms"], "states no latency"),
        ([model, "-o", "a.tin", "--score", "accuracy"], "states no metric"),
        ([model, "-o", "a.tin", "--score", "accuracy=nan"], "states no metric"),
        ([model, "-o", "a.tin", "--postprocess", "none.json"], "cannot read the postprocessing"),
        ([model, "-o", "a.tin", "--postprocess", "half.json"], "no JSON"),
        ([model, "-o", "a.tin", "--postprocess", "{}"], "a list of operations"),
        ([model, "-o", "a.tin", "--postprocess", '[{"kind": "magic"}]'], "magic"),
        (["--show", "none.tin"], "No such file"),
        (["--show", model], "no zip file"),
        (["--show", "me.pub", "--trust", "none"], "cannot read the public key"),
    ]:
        code, err = refused("bundle", *arguments)
        assert code == 2, (arguments, err)
        assert words in err, (arguments, err)


def test_what_was_changed_or_signed_by_another_ends_with_6(golden, refused, cli, tmp_path):
    cli("bundle", "--new-key", "me")
    cli("bundle", "--new-key", "other")
    assert cli("bundle", golden / "dense.tflite", "-o", "a.tin", "--golden", "1", "--key", "me.key")[0] == 0
    content = bytearray((tmp_path / "a.tin").read_bytes())
    content[content.index(b"TFL3") + 100] ^= 1
    (tmp_path / "changed.tin").write_bytes(content)

    for arguments, words in [
        (["changed.tin"], "CRC-32"),
        (["a.tin", "--trust", "other.pub"], "and trusted is"),
    ]:
        code, err = refused("bundle", "--show", *arguments)
        assert code == 6
        assert words in err
    code, out, _ = cli("bundle", "--show", "changed.tin", "--format", "json")
    assert code == 6
    assert said(out)["error"]["code"] == "verification"


def test_a_password_locks_the_key(golden, cli, refused, tmp_path, monkeypatch):
    from tinsmith.runtime.bundle import secret_key

    # libsodium's interactive cost: the usual one takes a gigabyte for some seconds
    cheap = secret_key.Cost(operations=1 << 15, memory_bytes=1 << 20)
    monkeypatch.setattr(secret_key.write_key_pair, "__kwdefaults__", {"password": None, "cost": cheap})
    (tmp_path / "password").write_text("sesame\n")
    (tmp_path / "wrong").write_text("rosemary\n")
    assert cli("bundle", "--new-key", "me", "--password-file", "password")[0] == 0
    make = ["bundle", golden / "dense.tflite", "-o", "a.tin", "--golden", "1", "--key", "me.key"]

    assert refused(*make)[0] == 2
    assert refused(*make, "--password-file", "wrong")[0] == 6
    assert cli(*make, "--password-file", "password")[0] == 0
    assert cli("bundle", "--show", "a.tin", "--trust", "me.pub")[0] == 0
