"""A file is whole or not there."""

from pathlib import Path

import pytest

from tinsmith.runtime.errors import OutputError
from tinsmith.runtime.files import bytes_of, check_writable, sha256_of, staged_file, write_bytes


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fail():
        with staged_file(target) as staged:
            staged.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()

    assert target.read_bytes() == b"old"
    assert leftovers(tmp_path) == ["a.bin"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    def fail():
        with staged_file(tmp_path / "a.bin"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left") as caught:
        fail()

    assert caught.value.exit_code == 3
    assert "free some space" in caught.value.hint
    assert leftovers(tmp_path) == []


def test_dev_full_is_refused(tmp_path):
    target = tmp_path / "full"
    target.symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space"), target.open("wb", buffering=0) as stream:
        stream.write(b"x")

    write_bytes(target, b"a rename replaces the link, and is not stopped by what it pointed to")
    assert not target.is_symlink()


def test_a_missing_folder_and_a_folder_in_the_way_are_found_before_the_work(tmp_path):
    with pytest.raises(OutputError, match="No such file"):
        check_writable(tmp_path / "none" / "a.tflite")
    with pytest.raises(OutputError, match="is a folder"):
        check_writable(tmp_path)


def test_the_mode_is_what_any_new_file_gets(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")

    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_hash_of_a_folder_depends_on_names_and_contents(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"1")
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")

    assert bytes_of(tmp_path / "a") == 1
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "c")
    assert sha256_of(tmp_path / "a") != sha256_of(tmp_path / "b")
    assert sha256_of(tmp_path / "a" / "x") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
