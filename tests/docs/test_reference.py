"""docs/reference is what the code says now."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def pages():
    return runpy.run_path(str(DOCS / "reference.py"))["pages"]()


def test_the_reference_is_not_stale(pages):
    written = {path.name: path.read_text() for path in (DOCS / "reference").glob("*.md")}

    stale = sorted(name for name in pages.keys() | written.keys() if pages.get(name) != written.get(name))
    assert not stale, f"run `python docs/reference.py`: {', '.join(stale)}"


def test_no_page_has_a_row_that_breaks_its_table(pages):
    for name, text in pages.items():
        for above, below in zip(text.split("\n"), text.split("\n")[1:], strict=False):
            if above.startswith("| ") and below.startswith("| "):
                assert above.replace("\\|", "").count("|") == below.replace("\\|", "").count("|"), f"{name}: {below}"


def test_no_relative_link_is_dead():
    for path in [*DOCS.rglob("*.md"), *(DOCS.parent / "examples").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path}: {target}"
