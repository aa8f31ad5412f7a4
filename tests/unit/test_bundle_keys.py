"""Keys and signatures are minisign's, by the word of minisign's own program where it is installed."""

import base64
import shutil
import stat
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.bundle.encryption import load_encryption_key, write_encryption_key
from tinsmith.runtime.bundle.minisign import PublicKey, Signature, key_name, load_public_key
from tinsmith.runtime.bundle.secret_key import (
    SENSITIVE,
    Cost,
    load_secret_key,
    new_secret_key,
    write_key_pair,
    write_secret,
)
from tinsmith.runtime.errors import HostError, OutputError, UsageError, VerificationError

CHEAP = Cost(operations=1 << 15, memory_bytes=1 << 20)
KEY = new_secret_key()

judged = pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed: make judges")


def minisign(*arguments, password=""):
    return subprocess.run(
        ["minisign", *map(str, arguments)],
        input=f"{password}\n{password}\n",
        capture_output=True,
        text=True,
        check=False,
    )


@judged
def test_minisign_accepts_our_signature_and_sees_every_change(tmp_path):
    write_key_pair(tmp_path / "ours", KEY)
    content = tmp_path / "manifest.json"
    content.write_bytes(b"some content\n" * 1000)
    signature = KEY.sign(content.read_bytes(), comment="file:manifest.json\tname:cats\tversion:3\thashed").to_text()
    (tmp_path / "manifest.json.minisig").write_text(signature)

    checked = minisign("-Vm", content, "-p", tmp_path / "ours.pub")
    assert checked.returncode == 0, checked.stderr
    assert "name:cats\tversion:3" in checked.stdout
    assert minisign("-Vm", content, "-P", KEY.public.line).returncode == 0

    (tmp_path / "manifest.json.minisig").write_text(signature.replace("version:3", "version:4"))
    assert minisign("-Vm", content, "-p", tmp_path / "ours.pub").returncode != 0
    (tmp_path / "manifest.json.minisig").write_text(signature)
    content.write_bytes(b"other content")
    assert minisign("-Vm", content, "-p", tmp_path / "ours.pub").returncode != 0


@judged
@pytest.mark.parametrize("password", [None, "sesame street ü"])
def test_minisign_signs_with_our_keys(tmp_path, password):
    write_key_pair(tmp_path / "ours", KEY, password=password, cost=CHEAP)
    (tmp_path / "x").write_bytes(b"content")

    signed = minisign("-S", "-s", tmp_path / "ours.key", "-m", tmp_path / "x", password=password)

    assert signed.returncode == 0, signed.stderr
    Signature.from_bytes((tmp_path / "x.minisig").read_bytes()).verify(b"content", KEY.public)


@judged
def test_we_sign_with_keys_of_minisigns(tmp_path):
    made = minisign("-G", "-W", "-p", tmp_path / "theirs.pub", "-s", tmp_path / "theirs.key")
    assert made.returncode == 0, made.stderr
    key = load_secret_key(tmp_path / "theirs.key")

    assert key.public == load_public_key(str(tmp_path / "theirs.pub"))
    (tmp_path / "x").write_bytes(b"content")
    (tmp_path / "x.minisig").write_text(key.sign(b"content", comment="hello").to_text())
    assert minisign("-Vm", tmp_path / "x", "-p", tmp_path / "theirs.pub").returncode == 0
    # minisign writes the number without leading zeros
    assert key_name(key.id).lstrip("0") in (tmp_path / "theirs.pub").read_text()


@judged
def test_minisigns_older_kind_of_signature_is_refused_with_its_reason(tmp_path):
    write_key_pair(tmp_path / "ours", KEY)
    (tmp_path / "x").write_bytes(b"content")
    assert minisign("-S", "-l", "-s", tmp_path / "ours.key", "-m", tmp_path / "x").returncode == 0

    with pytest.raises(VerificationError, match="older kind"):
        Signature.from_bytes((tmp_path / "x.minisig").read_bytes())


def test_the_cost_of_a_password_is_libsodiums():
    assert SENSITIVE.scrypt() == {"n": 1 << 20, "r": 8, "p": 1}
    # crypto_pwhash_scryptsalsa208sha256_*_INTERACTIVE
    assert Cost(operations=524288, memory_bytes=16777216).scrypt() == {"n": 1 << 14, "r": 8, "p": 1}
    assert Cost(operations=524288, memory_bytes=1 << 30).scrypt() == {"n": 1 << 14, "r": 8, "p": 1}
    assert Cost(operations=1 << 25, memory_bytes=1 << 24).scrypt() == {"n": 1 << 14, "r": 8, "p": 64}


def test_a_locked_key_opens_with_its_password_alone(tmp_path):
    secret, public = write_key_pair(tmp_path / "me", KEY, password="right", cost=CHEAP)

    assert load_secret_key(secret, "right") == KEY
    assert load_public_key(str(public)) == load_public_key(KEY.public.line) == KEY.public
    with pytest.raises(VerificationError, match="does not unlock"):
        load_secret_key(secret, "wrong")
    with pytest.raises(UsageError, match="locked by a password"):
        load_secret_key(secret)
    greedy = KEY.to_text("x", cost=CHEAP)
    raw = bytearray(base64.b64decode(greedy.splitlines()[1]))
    raw[38:54] = (1 << 50).to_bytes(8, "little") * 2
    secret.write_text("untrusted comment: x\n" + base64.b64encode(raw).decode())
    with pytest.raises(HostError, match="bytes of memory"):
        load_secret_key(secret, "x")


def test_secrets_are_for_their_owner_and_never_overwritten(tmp_path):
    secret, public = write_key_pair(tmp_path / "a.b", KEY)
    write_encryption_key(tmp_path / "e.key")
    assert (secret.name, public.name) == ("a.b.key", "a.b.pub")
    assert stat.S_IMODE(secret.stat().st_mode) == stat.S_IMODE((tmp_path / "e.key").stat().st_mode) == 0o600
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    for again in (
        lambda: write_key_pair(tmp_path / "a.b", new_secret_key()),
        lambda: write_encryption_key(tmp_path / "e.key"),
        lambda: write_secret(public, b"x"),
    ):
        with pytest.raises(UsageError, match="never overwritten"):
            again()
    secret.unlink()
    with pytest.raises(UsageError, match=r"a\.b\.pub exists"):
        write_key_pair(tmp_path / "a.b", new_secret_key())
    with pytest.raises(OutputError, match="No such file"):
        write_encryption_key(tmp_path / "none" / "e.key")
    del before[secret]
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert load_encryption_key(tmp_path / "e.key") != bytes(32)


def test_what_is_no_key_is_said_so(tmp_path):
    path = tmp_path / "x"
    for content in (b"", b"hello\n", b"\xff\xfe", KEY.public.to_text().encode()[:-20], KEY.to_text().encode()):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="x"):
            load_public_key(str(path))
    for content in (b"", b"hello\n", b"\xff\xfe", KEY.public.to_text().encode(), KEY.to_text().encode()[:-20]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="x"):
            load_secret_key(path)
    for size in (0, 16, 31, 33, 1000):
        path.write_bytes(bytes(size))
        with pytest.raises(UsageError, match="32 bytes"):
            load_encryption_key(path)
    for load in (lambda p: load_public_key(str(p)), load_secret_key, load_encryption_key):
        with pytest.raises(UsageError, match="none"):
            load(tmp_path / "none")
    with pytest.raises(UsageError, match="no public key"):
        load_public_key("RWnonsense")


def test_a_key_whose_halves_do_not_belong_together_is_refused(tmp_path):
    from dataclasses import replace

    mixed = replace(KEY, public=new_secret_key().public)
    (tmp_path / "x").write_text(mixed.to_text())

    with pytest.raises(UsageError, match="don't belong together"):
        load_secret_key(tmp_path / "x")


def test_a_secret_key_does_not_show_itself():
    assert KEY.seed.hex() not in repr(KEY)
    assert repr(KEY) == f"SecretKey({key_name(KEY.id)})"


@given(content=st.binary(max_size=100), comment=st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30))
def test_a_signature_survives_its_text_and_fits_nothing_else(content, comment):
    signature = Signature.from_bytes(KEY.sign(content, comment=comment).to_text().encode())

    signature.verify(content, KEY.public)
    assert signature.comment == comment
    with pytest.raises(VerificationError):
        signature.verify(content + b"\0", KEY.public)


@given(content=st.binary(max_size=400))
def test_what_is_no_signature_is_a_failed_verification(content):
    with pytest.raises(VerificationError):
        Signature.from_bytes(content)


def test_a_signature_that_was_tampered_with_is_refused():
    text = KEY.sign(b"x", comment="c").to_text()
    first, second, third, fourth = text.splitlines()
    for changed in (
        [first, second, third],
        [first, second, third, fourth, "more"],
        [first, second[:-4], third, fourth],
        [first, second, third, fourth[:-4]],
        [first, second, "trusted comment c", fourth],
        ["comment", second, third, fourth],
        [first, "!" + second[1:], third, fourth],
        [first, "RX" + second[2:], third, fourth],
    ):
        with pytest.raises(VerificationError):
            Signature.from_bytes("\n".join(changed).encode())


def test_public_keys_differ_from_other_lines_of_base64():
    for line in ("", "AAAA", KEY.public.line[:-4], "RX" + KEY.public.line[2:], KEY.public.line + "\nmore\nand more"):
        with pytest.raises(UsageError):
            PublicKey.from_text(line)
