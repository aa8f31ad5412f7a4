"""Fixtures that more than one test file uses."""

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
