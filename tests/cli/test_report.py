"""``tinsmith report``, and its page in headless Chromium."""

from __future__ import annotations

import csv
import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.chromium import needs_chromium, opened_browser
from tests.unit.search.conftest import search_in
from tests.unit.search.recorded import compressed, record_of
from tinsmith.compress.budget import Budget
from tinsmith.compress.search.bounds import Ask, FileBound
from tinsmith.compress.search.report.output import write_report

ASK = Ask(budget=Budget(max_drop=0.01), files=(FileBound(kind="size", most=60_000),))


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    found = search_in(tmp_path_factory.mktemp("search"), ASK, trials=16)
    return record_of(found, ASK, artifacts=compressed(tmp_path_factory.mktemp("made")).to_json())


@pytest.fixture
def run(record, tmp_path):
    record.write(tmp_path)
    return tmp_path


def test_files_have_the_form_that_their_names_ask_for(cli, run, record):
    names = ["r.html", "r.md", "r.csv", "r.json"]

    code, out, _ = cli("report", run, *(word for name in names for word in ("-o", run / name)))

    assert code == 0
    assert all(name in "".join(out.split()) for name in names)
    html, markdown, table, document = ((run / name).read_text(encoding="utf-8") for name in names)
    assert html.startswith("<!doctype html>")
    assert markdown.startswith("### Search")
    assert len(list(csv.reader(table.splitlines()))) == 1 + len(record.trials)
    assert json.loads(document)["chosen"] == record.chosen


def test_json_is_one_document(cli, run, record):
    code, out, _ = cli("report", run, "--format", "json")

    assert code == 0
    assert json.loads(out)["search"]["front"] == list(record.front)


def test_an_unfinished_run_is_shown_and_said(cli, run, record):
    replace(record, finished=False, front=(), chosen=None, nearest=None, ended="").write(run)

    code, out, _ = cli("report", run, "-o", run / "r.html")

    assert code == 0
    assert "not finished" in out
    assert "not finished" in (run / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [("", "damaged"), ('{"schema": 99}', "newer"), ("[]", "damaged"), (None, "holds no search")],
)
def test_what_is_no_run_is_refused(cli, tmp_path, damage, said):
    if damage is not None:
        (tmp_path / "run.json").write_text(damage)

    code, _, err = cli("report", tmp_path, "-o", tmp_path / "r.html")

    assert code == 2
    assert said in err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("where", "damage"),
    [
        (["front"], [99]), (["front"], "x"), (["chosen"], 0), (["chosen"], -1), (["trials"], []), (["source"], None),
        (["artifacts"], []), (["seconds"], None), (["trials", 0, "target"], None), (["trials", 0, "threads"], []),
        (["devices"], "x"), (["ask"], "x"), (["settings"], None),
    ],
)  # fmt: skip
def test_a_record_that_was_changed_by_hand_is_refused(cli, run, where, damage):
    said = json.loads((run / "run.json").read_text(encoding="utf-8"))
    *path, last = where
    functools.reduce(lambda at, name: at[name], path, said)[last] = damage
    (run / "run.json").write_text(json.dumps(said))

    code, _, err = cli("report", run, "-o", run / "r.html")

    assert code == 2
    assert "is damaged" in err


def test_what_was_chosen_and_not_made_yet_is_said(cli, run, record):
    replace(record, finished=False, artifacts={}).write(run)

    _, out, _ = cli("report", run)

    assert "not made yet" in " ".join(out.split())


def test_a_form_that_there_is_not_is_refused_before_anything_is_written(cli, run):
    code, _, err = cli("report", run, "-o", run / "r.html", "-o", run / "r.pdf")

    assert code == 2
    assert ".html, .md, .csv, .json" in err
    assert not (run / "r.html").exists()


@pytest.fixture(scope="module")
def page(record, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, record, Path("run"))
    with opened_browser(tmp_path_factory.mktemp("chromium")) as browser:
        browser.open(path.as_uri())
        yield browser


@needs_chromium
class TestInABrowser:
    def test_a_head_sorts_its_column_both_ways(self, page, record):
        column = "[...document.querySelectorAll('.trials tbody tr')].map(row => row.cells[5].dataset.v)"
        click = "document.querySelectorAll('.trials th button')[5].click();"

        up, down = (page.run(f"{click} return {column}") for _ in range(2))

        sizes = sorted(trial.figures.flash_bytes for trial in record.trials if trial.figures)
        known = [[float(value) for value in values if value is not None] for values in (up, down)]
        assert known == [sizes, sizes[::-1]]
        assert len(up) == len(down) == len(record.trials)

    def test_a_point_leads_to_its_row(self, page, record):
        page.run(f"document.querySelector('svg a[href=\"#t{record.chosen}\"] *').parentNode.dispatchEvent("
                 "new MouseEvent('click', {bubbles: true}))")  # fmt: skip

        assert page.run("return document.querySelector('tr:target').id") == f"t{record.chosen}"

    def test_the_chosen_one_does_not_look_like_the_greyed_ones(self, page):
        fill = "return getComputedStyle(document.querySelector('{}')).fill"
        fills = {page.run(fill.format(f"svg a .{kind}")) for kind in ("chosen", "front", "misses")}

        assert len(fills) == 3
        assert "none" not in fills
        assert "rgb(0, 0, 0)" not in fills

    @pytest.mark.parametrize("width", [360, 1400])
    def test_nothing_sticks_out_of_the_screen(self, page, width):
        page.resize(width, 900)

        assert page.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    def test_nothing_went_wrong(self, page):
        assert page.errors() == []
