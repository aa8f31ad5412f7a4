"""Fixtures that more than one test file uses."""

import subprocess
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Path:
    """The folder of small models that were made once by golden/generate.py."""
    return GOLDEN


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Every test runs in a folder of its own, so that none writes into the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def own_inventory(tmp_path, monkeypatch):
    """No test sees the devices of whoever runs it."""
    monkeypatch.setenv("TINSMITH_DEVICES", str(tmp_path / "devices.toml"))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 KiB, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)
