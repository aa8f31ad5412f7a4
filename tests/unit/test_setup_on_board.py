"""What a setup does on the board: wheels are whole or not there, and a cut anywhere leaves the environment before."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinsmith.devices.setup import on_board
from tinsmith.devices.setup.on_board import RefusedError, look, place, switch, unpack


class PowerLostError(Exception):
    """The machine was cut off."""


@pytest.fixture
def base(tmp_path):
    base = tmp_path / "board"
    look(base=str(base))
    return base


@pytest.fixture
def send(base, tmp_path, make_wheel):
    """Sends a wheel to the board: name, contents -> hash."""

    def sent(name, contents, **keys):
        path = make_wheel(tmp_path, name, contents, **keys)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        path.replace(base / "wheels" / f"{sha256}.part")
        return sha256

    return sent


def one(send, base, contents, name="one-1.0-py3-none-any.whl", **keys):
    sha256 = send(name, contents, **keys)
    unpack(base=str(base), sha256=sha256)
    return base / "wheels" / sha256


def test_a_wheel_is_laid_out_compiled_and_its_file_gone(base, send):
    home = one(send, base, {"one/__init__.py": "x = 1\n", "one/data.bin": "\0"})

    assert (home / "one" / "data.bin").read_bytes() == b"\0"
    assert (home / "one" / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc").is_file()
    assert list((base / "wheels").iterdir()) == [home]
    code = f"import sys; sys.path.insert(0, {str(home)!r}); import one; print(one.__spec__.cached, one.x)"
    ran = subprocess.run([sys.executable, "-I", "-v", "-c", code], capture_output=True, text=True, check=True)
    assert f"matches {home}/one/__init__.py" in ran.stderr  # what was compiled is what is run


def test_the_places_that_the_specification_names_are_known(base, send):
    home = one(send, base, {
        "one-1.0.data/purelib/pure.py": "", "one-1.0.data/platlib/deep/plat.py": "",
        "one-1.0.data/scripts/tool": "#!python", "one-1.0.data/headers/one.h": "",
    })  # fmt: skip

    files = {str(path.relative_to(home)) for path in home.rglob("*") if path.suffix in (".py", ".h", "")}
    assert {"pure.py", "deep/plat.py"} <= files
    assert not files & {"tool", "one.h"}


@pytest.mark.parametrize(
    ("contents", "record", "reason"),
    [
        ({"one.py": "x"}, "one.py,sha256=AAAA,1\n", "one.py in it is not what its RECORD says"),
        ({"one.py": "x"}, "", "RECORD has no hash of one.py"),
        ({"one.py": "x"}, "one.py,md5=AAAA,1\n", "RECORD has no hash of one.py"),
        ({"../one.py": "x"}, None, "outside of its folder"),
        ({"/one.py": "x"}, None, "outside of its folder"),
        ({"a/../../one.py": "x"}, None, "outside of its folder"),
        ({"one-1.0.data/data/etc/one": "x"}, None, "outside of an environment's packages"),
    ],
)
def test_a_wheel_that_is_not_what_it_says_is_refused_whole(base, send, contents, record, reason):
    with pytest.raises(RefusedError, match=reason):
        one(send, base, contents, record=record)

    assert not [path for path in (base / "wheels").iterdir() if len(path.name) == 64]
    assert not list(base.parent.rglob("one.py")) or reason.startswith("one.py")


def test_a_record_that_names_what_is_not_there_is_refused(base, tmp_path, make_wheel, send):
    import zipfile

    sha256 = send("one-1.0-py3-none-any.whl", {"one.py": "", "two.py": ""})
    part = base / "wheels" / f"{sha256}.part"
    whole = zipfile.ZipFile(part)
    with zipfile.ZipFile(tmp_path / "less", "w") as less:
        for entry in whole.infolist():
            if entry.filename != "two.py":
                less.writestr(entry, whole.read(entry))
    name = hashlib.sha256((tmp_path / "less").read_bytes()).hexdigest()
    (tmp_path / "less").replace(part.with_name(f"{name}.part"))

    with pytest.raises(RefusedError, match=r"it lacks two.py"):
        unpack(base=str(base), sha256=name)


def test_bytes_that_were_damaged_on_the_way_are_dropped(base, send):
    sha256 = send("one-1.0-py3-none-any.whl", {"one.py": ""})
    part = base / "wheels" / f"{sha256}.part"
    part.write_bytes(part.read_bytes()[:-1] + b"\0\0")

    with pytest.raises(RefusedError, match="damaged"):
        unpack(base=str(base), sha256=sha256)
    assert not part.exists()


@pytest.fixture
def wheels(base, send):
    """Unpacks a version of a package, and one beside it: version -> hashes."""

    def unpacked(version):
        first = one(send, base, {"one.py": f"VERSION = {version}"}, name=f"one-{version}.0-py3-none-any.whl")
        return [first.name, one(send, base, {"two.py": ""}, name="two-1.0-py3-none-any.whl").name]

    return unpacked


def make(base, name, wheels, modules=("one", "two"), *, shared=False):
    return switch(base=str(base), name=name, wheels=wheels, modules=list(modules), shared=shared)


def imported(base):
    """Which version programs of the board see."""
    program = base / "venv" / "bin" / "python"
    code = "import one, two, sys; print(one.VERSION, sys.prefix)"
    ran = subprocess.run([program, "-I", "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.split()


def test_an_environment_sees_its_wheels_and_the_link_leads_to_it(base, wheels):
    assert make(base, "venv-a", wheels(1)) == {"changed": True}
    assert imported(base) == ["1", str(base / "venv")]
    assert make(base, "venv-a", wheels(1)) == {"changed": False}

    moved = base.rename(base.parent / "moved")
    assert imported(moved)[0] == "1"


def test_the_one_before_stays_and_what_is_older_goes(base, wheels):
    first = wheels(1)
    make(base, "venv-a", first)
    second = wheels(2)
    make(base, "venv-b", second)
    assert imported(base)[0] == "2"
    assert {path.name for path in (base / "wheels").iterdir()} == {*first, *second}

    third = wheels(3)
    make(base, "venv-c", third)
    assert {path.name for path in base.glob("venv-*")} == {"venv-b", "venv-c"}
    assert {path.name for path in (base / "wheels").iterdir()} == {*second, *third}


def test_what_cannot_be_imported_is_never_switched_to(base, wheels, send):
    good = wheels(1)
    make(base, "venv-a", good)
    broken = one(send, base, {"one.py": "raise ImportError('libstdc++.so.6 is missing')"}).name

    with pytest.raises(RefusedError, match=r"libstdc\+\+.so.6 is missing.*exit code 1"):
        make(base, "venv-b", [broken, good[1]])
    assert imported(base)[0] == "1"


def test_a_cut_before_or_after_any_step_leaves_the_environment_before_or_the_new_one(base, wheels, monkeypatch):
    make(base, "venv-a", wheels(1))
    fresh = wheels(2)
    kept = base.with_name("kept")
    shutil.copytree(base, kept, symlinks=True)
    seen = set()
    for cut in range(100):
        shutil.rmtree(base)
        shutil.copytree(kept, base, symlinks=True)
        with monkeypatch.context() as patch:
            left = _cut_at(patch, cut)
            try:
                make(base, "venv-b", fresh)
            except PowerLostError:
                pass
            else:
                break
        seen.add(imported(base)[0])
        assert left[0] <= 0
        make(base, "venv-b", fresh)
        assert imported(base)[0] == "2"
    assert seen == {"1", "2"}
    assert cut > 10


def _cut_at(patch, steps):
    """Lets the power go at the n-th change to the disk; half of them before it is made, half after."""
    left = [steps // 2 + 1]

    def cutting(owner, name):
        done = getattr(owner, name)

        def step(*args, **keys):
            left[0] -= 1
            is_last = left[0] == 0
            if is_last and steps % 2 == 0:
                raise PowerLostError
            result = done(*args, **keys)
            if is_last:
                raise PowerLostError
            return result

        patch.setattr(owner, name, step)

    for name in ("rename", "replace", "unlink", "symlink_to", "chmod"):
        cutting(Path, name)
    for owner, name in (
        (os, "sync"),
        (on_board, "_sync"),
        (on_board, "_make_environment"),
        (on_board.shutil, "rmtree"),
    ):
        cutting(owner, name)
    return left


def test_files_are_written_only_where_they_are_different(base):
    files = [["serve", "#!/bin/sh\n", 0o755], ["trusted/k.pub", "key\n", 0o644], [str(base / "unit"), "x", 0o644]]

    assert place(base=str(base), files=files) == {"changed": [str(base / name) for name, _, _ in files]}
    assert os.access(base / "serve", os.X_OK)
    files[1][1] = "other\n"
    assert place(base=str(base), files=files) == {"changed": [str(base / "trusted/k.pub")]}
    assert (base / "trusted" / "k.pub").read_text() == "other\n"
    assert not list(base.rglob("*.new"))


def run(base, job, **asked):
    script = Path(on_board.__file__).read_bytes()
    document = json.dumps({"job": job, "base": str(base), **asked})
    ran = subprocess.run([sys.executable, "-I", "-", document], input=script, capture_output=True, check=True)
    return json.loads(ran.stdout)


def test_as_a_program_it_says_what_the_board_has(base, wheels):
    hashes = wheels(1)
    (base / "wheels" / f"{'0' * 64}.part").write_bytes(b"12345")
    said = run(base, "look")

    assert said["base"] == str(base)
    assert set(said["wheels"]) == set(hashes)
    assert said["parts"] == {"0" * 64: 5}
    assert said["version"] == sys.version.split()[0]
    assert said["machine"] == os.uname().machine
    assert said["free_bytes"] > 0


def test_a_refusal_is_said_with_the_number_of_the_error(base):
    (base / "file").write_text("")
    path = str(base / "file" / "wheels")
    assert run(base / "file", "look") == {"refused": "Not a directory", "number": errno.ENOTDIR, "path": path}
    assert run(base, "unpack", sha256="0" * 64)["refused"] == "No such file or directory"


def test_nobody_sets_up_what_somebody_else_is_updating(base, monkeypatch):
    monkeypatch.setattr(on_board, "_LOCK_TRIES", 2)
    monkeypatch.setattr(on_board, "_LOOK_AGAIN_S", 0)
    handle = os.open(base / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(RefusedError, match="somebody else is updating"), on_board._locked(base):
        pass
    os.close(handle)
    with on_board._locked(base):
        assert (base / "lock").exists()


def test_it_needs_nothing_of_ours():
    text = Path(on_board.__file__).read_text()
    assert "import tinsmith" not in text
    assert "from tinsmith" not in text
