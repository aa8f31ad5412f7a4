"""The README says what the code says."""

import re
from pathlib import Path

from tinsmith.__main__ import COMMANDS
from tinsmith.convert.formats import markdown_table

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_formats_table_is_the_one_that_the_command_prints():
    assert markdown_table() in README


def test_every_command_is_named():
    for name in COMMANDS:
        assert f"`{name}`" in README or f"tinsmith {name}" in README, name


def test_the_two_commands_stand_on_the_first_screen():
    first_screen = "\n".join(README.splitlines()[:40])

    assert "make demo" in first_screen
    assert "make test" in first_screen


def test_no_relative_link_is_dead():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[2] / target).exists(), target
