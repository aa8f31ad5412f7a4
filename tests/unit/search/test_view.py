"""What a search says in a terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.search.recorded import record_of
from tinsmith.compress.budget import Budget
from tinsmith.compress.commands.search_view import line_of, search_view
from tinsmith.compress.search.bounds import Ask, FileBound, LatencyBound
from tinsmith.compress.search.figures import Figures
from tinsmith.compress.search.found import Found
from tinsmith.compress.search.report.sheets import markdown
from tinsmith.compress.search.trial import Trial

RUN = Path("run")
SMALL = FileBound(kind="size", most=1024)


def tried(ask, *, state="done", **facts):
    """The first trial, of 1,000 bytes."""
    figures = Figures(**{"file_bytes": 1000, "zip_bytes": 500, "flash_bytes": 1000, **facts})
    return Trial(
        number=1, origin="known", target="tflite", recipe={"version": 1, "target": "tflite", "steps": []}, name="int8",
        threads=1, state=state, figures=figures, standings=ask.standings(figures), sha256="5f" * 32,
    )  # fmt: skip


def shown(ask, trial):
    """All that a terminal of any width has."""
    record = record_of(Found.of([trial], ask, "that is the limit"), ask)
    console = Console(file=io.StringIO(), width=200)
    for part in search_view(record, RUN):
        console.print(part, markup=False)
    return " ".join(console.file.getvalue().split()), markdown(record, RUN)


def test_what_is_gained_is_not_lost():
    ask = Ask(budget=Budget(max_drop=0.005))
    trial = tried(ask, drop=-0.0225)
    texts = (*shown(ask, trial), line_of(trial))
    assert "kept --max-drop: gained 2.25 points, 0.50 points allowed" in texts[0]
    assert all("gained 2.25 points" in text and "-2.25" not in text for text in (texts[0], texts[2]))
    assert "lost 0.40 points" in line_of(tried(ask, drop=0.004))


def test_what_became_of_single_answers_is_said_where_nobody_has_bounded_it():
    ask = Ask(files=(SMALL,))
    for text in shown(ask, tried(ask, drop=-0.0225, class_drop=0.185, worst="class 8", agreement=0.6965)):
        assert "with the source on 69.65% of the samples" in text
        assert "class 8, 18.50 points; --max-class-drop bounds" in text


@pytest.mark.parametrize(
    ("budget", "class_drop", "hinted"),
    [
        (Budget(), 0.06, True),
        (Budget(), 0.04, False),
        (Budget(max_drop=0.1), 0.08, False),
        (Budget(max_drop=0.1), 0.12, True),
        (Budget(max_drop=0.001), 0.04, False),
    ],
)
def test_a_class_that_lost_much_names_its_option(budget, class_drop, hinted):
    ask = Ask(budget=budget)
    text, _ = shown(ask, tried(ask, drop=0.0, class_drop=class_drop, worst="class 8"))
    assert f"class 8, {100 * class_drop:.2f} points" in text
    assert ("--max-class-drop" in text) == hinted


def test_what_is_bounded_is_said_once():
    ask = Ask(budget=Budget(max_class_drop=0.2, min_agreement=0.6))
    text, _ = shown(ask, tried(ask, class_drop=0.185, worst="class 8", agreement=0.6965))
    assert "kept --max-class-drop: class 8 lost 18.50 points, 20.00 points allowed" in text
    assert text.count("18.50") == text.count("69.65%") - 1 == 1  # the second is in the table


def test_no_class_that_lost_nothing_is_named():
    ask = Ask()
    text, _ = shown(ask, tried(ask, drop=-0.01, class_drop=-0.01, worst="class 8"))
    assert "class 8" not in text


def test_what_was_given_up_says_what_it_misses():
    ask = Ask(files=(replace(SMALL, most=10),), latencies=(LatencyBound(device="pi", most=5.0),))
    said = line_of(replace(tried(ask, state="hopeless"), remark="too far"))
    assert said.endswith("; misses --max-size: 1,000 bytes, 10 bytes allowed; too far")
