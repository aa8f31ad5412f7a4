"""What a search found, as a page, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.search.conftest import Arithmetic, search_in
from tests.unit.search.recorded import COMMAND, compressed, record_of
from tinsmith.compress.balance import Judged
from tinsmith.compress.budget import Budget
from tinsmith.compress.search.bounds import Ask, FileBound, LatencyBound
from tinsmith.compress.search.figures import Figures, Timed
from tinsmith.compress.search.found import Found
from tinsmith.compress.search.record import Record, read_record
from tinsmith.compress.search.report.again import lines_of, resuming
from tinsmith.compress.search.report.made import made_of
from tinsmith.compress.search.report.output import FORMS, write_report
from tinsmith.compress.search.report.page import page
from tinsmith.compress.search.report.sheets import csv_text, markdown
from tinsmith.compress.search.report.standing import rank_of, so_far
from tinsmith.compress.search.trial import Trial
from tinsmith.convert.evaluation import Evaluation
from tinsmith.convert.metrics import metric_named
from tinsmith.convert.slice_scores import SliceScore
from tinsmith.runtime.errors import DataError

RUN = Path("run")
ASK = Ask(
    budget=Budget(max_drop=0.01),
    files=(FileBound(kind="size", most=60_000),),
    latencies=(LatencyBound(device="pi4", most=14.0),),
)
NOTHING = Ask(budget=Budget(max_drop=0.0005), files=(FileBound(kind="size", most=6_000),))
EVIL = "<script>alert(1)</script>&\"'|"


class Reader(HTMLParser):
    """What stands in a page: its elements with their classes, and whether each was closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.bad = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.bad.append(tag)

    def rows(self):
        """Classes of the rows of trials, by number."""
        found = [(said["id"], said.get("class")) for tag, said in self.elements if tag == "tr" and "id" in said]
        assert len(dict(found)) == len(found)
        return {int(name[1:]): kind for name, kind in found}

    def marks(self):
        """Plot by plot: classes and attributes of the marks, by the trial that they lead to."""
        plots = []
        for (tag, said), (_, mark) in itertools.pairwise(self.elements):
            if tag == "svg" and "trials:" in said.get("aria-label", ""):
                plots.append({})
            if tag == "a":
                plots[-1][int(said["href"][2:])] = mark
        return plots


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """What ``compress`` says of an int8 artifact, in truth."""
    return compressed(tmp_path_factory.mktemp("reported"))


@pytest.fixture(scope="module")
def record(reported, tmp_path_factory):
    found = search_in(tmp_path_factory.mktemp("record"), ASK, trials=16)
    return record_of(found, ASK, artifacts=reported.to_json())


@pytest.fixture(scope="module")
def nothing(reported, tmp_path_factory):
    spread = Arithmetic(fails=lambda job: "it ran out of memory" if job.recipe.needs.training else "")
    return record_of(
        search_in(tmp_path_factory.mktemp("nothing"), NOTHING, trials=16, spread=spread),
        NOTHING,
        artifacts=reported.to_json(),
    )


def unfinished(record):
    return replace(record, finished=False, ended="", front=(), chosen=None, nearest=None, artifacts={})


def made_up(count, *, devices=("local",), ask=ASK, **changed):
    """A record of trials that nobody has tried."""
    trials = tuple(trial(number, devices=devices, ask=ask) for number in range(1, count + 1))
    found = Found(trials=trials, front=(), chosen=None, nearest=None, loosenings=(), ended="it was enough")
    about = tuple({"name": name, "profile": name, "threads": 1, "emulated": False} for name in devices)
    return record_of(found, ask, devices=about, **changed)


def trial(number, *, drop=None, devices=("local",), ask=ASK, name="batch norm again, int8, 4-bit weights for 50%"):
    times = [
        Timed(device=device, threads=1, median_ms=1 + number / 100, low_ms=1.0, high_ms=None, peak_memory_bytes=10**7)
        for device in devices
    ]
    figures = Figures(
        file_bytes=50_000 + 10 * number,
        zip_bytes=30_000,
        flash_bytes=50_000 + 10 * number,
        score=0.9,
        drop=number / 10_000 if drop is None else drop,
        timed=tuple(times),
    )
    return Trial(
        number=number, origin="sampled", target="tflite", recipe={"version": 1, "target": "tflite", "steps": []},
        name=name, threads=1, state="done", figures=figures, standings=ask.standings(figures), sha256="ab" * 32,
        seconds=12.25,
    )  # fmt: skip


@pytest.mark.parametrize("state", ["record", "nothing", "unfinished"])
def test_the_page_is_well_formed_needs_nothing_else_and_has_every_trial_once(record, nothing, state):
    shown = {"record": record, "nothing": nothing, "unfinished": unfinished(record)}[state]

    text = page(shown, RUN)

    read = Reader(text)
    assert (read.open, read.bad) == ([], [])
    assert list(read.rows()) == [trial.number for trial in shown.trials]
    targets = [value for _, said in read.elements for name, value in said.items() if name in ("src", "href")]
    assert all(target.startswith("#t") for target in targets)
    assert "http" not in text
    assert "@import" not in text


@pytest.mark.parametrize("state", ["record", "nothing", "unfinished"])
def test_plots_and_table_agree_on_who_stands_where(record, nothing, state):
    shown = {"record": record, "nothing": nothing, "unfinished": unfinished(record)}[state]

    read = Reader(page(shown, RUN))

    rows, plots = read.rows(), read.marks()
    assert len(plots) == 1 + 2 * len(shown.devices)
    assert set(plots[0]) == {trial.number for trial in shown.trials if trial.figures is not None}
    for plot in plots:
        assert {number: mark["class"] for number, mark in plot.items()}.items() <= rows.items()
    kept = {number for number, kind in rows.items() if kind in ("chosen", "front", "kept")}
    assert kept == {trial.number for trial in shown.trials if trial.kept}


def test_who_is_chosen_and_who_is_nearest(record, nothing):
    assert [n for n, kind in Reader(page(record, RUN)).rows().items() if kind == "chosen"] == [record.chosen]
    assert [n for n, kind in Reader(page(nothing, RUN)).rows().items() if kind == "nearest"] == [nothing.nearest]


@given(
    figures=st.lists(
        st.tuples(
            st.integers(1, 2**40),
            st.floats(-1, 1) | st.just(math.inf),
            st.floats(1e-4, 1e6),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_figures_all_marks_lie_in_the_frame(figures):
    trials = []
    for number, (size, drop, ms) in enumerate(figures, start=1):
        like = trial(number)
        timed = replace(like.figures.timed[0], median_ms=ms)
        known = replace(like.figures, file_bytes=size, flash_bytes=size, drop=drop, timed=(timed,))
        trials.append(replace(like, figures=known, standings=ASK.standings(known)))
    shown = so_far(replace(made_up(1), trials=tuple(trials), finished=False))

    for plot in Reader(page(shown, RUN)).marks():
        assert len(plot) == len(trials)
        for mark in plot.values():
            x, y = _place(mark)
            assert 60 <= x <= 510
            assert 25 <= y <= 310


def _place(mark):
    if "cx" in mark:
        return float(mark["cx"]), float(mark["cy"])
    return tuple(map(float, re.match(r"M(\S+) ([\d.]+)", mark["d"]).groups()))


def test_names_are_no_markup(record):
    named = replace(
        record,
        command=f"tinsmith search {EVIL}",
        source={**record.source, "path": EVIL},
        metric=EVIL,
        ended=EVIL,
        devices=({"name": EVIL, "profile": EVIL},),
        environment={EVIL: EVIL},
        trials=tuple(
            replace(one, name=EVIL, remark=EVIL, recipe={"steps": [{"kind": EVIL, EVIL: EVIL}]})
            for one in record.trials
        ),
    )
    report = json.loads(json.dumps(record.artifacts[record.chosen]["report"]).replace("CONV_2D", "<script>"))
    report["moved"]["accuracy"]["classes"][0]["name"] = EVIL
    named = replace(named, artifacts={record.chosen: {"path": EVIL, "recipe": EVIL, "report": report}})

    text = page(named, Path(EVIL))

    assert text.count("<script") == 1
    assert (Reader(text).open, Reader(text).bad) == ([], [])
    code = [line for line in markdown(named, RUN).splitlines() if "<script" in line]
    assert all(line.startswith("    tinsmith ") for line in code)


def test_where_nothing_fits_the_way_out_stands_on_top(nothing):
    text = page(nothing, RUN)

    first = text.index("Nothing keeps every bound.")
    assert first < text.index('<p class="verdict">')
    for one in nothing.loosenings:
        assert first < text.index(one.said) < text.index('<p class="verdict">')
    assert "✗ missed" in text
    assert "**Nothing keeps every bound.**" in markdown(nothing, RUN)


def test_an_unfinished_search_says_so_and_how_to_go_on(record):
    text = page(unfinished(record), RUN)

    assert text.index("not finished") < text.index("<h2>")
    assert "my model.keras&#x27; --data data.yaml --metric top-5 --max-size 60kB -o run --resume" in text
    assert "not finished" not in page(record, RUN)
    assert set(so_far(unfinished(record)).front) == set(record.front)
    assert resuming(replace(record, command=f"{COMMAND} --resume")) == f"{COMMAND} --resume"


@pytest.mark.parametrize("trials", [(), (replace(trial(1), state="failed", figures=None, standings=(), remark="no"),)])
def test_where_nothing_could_be_carried_out_there_is_a_page_all_the_same(trials):
    shown = replace(made_up(0), trials=trials)

    text = page(shown, RUN)

    assert list(Reader(text).rows()) == [one.number for one in trials]
    assert "No recipe could be carried out" in text
    assert "No recipe could be carried out" in markdown(shown, RUN)


def test_five_hundred_trials_on_three_devices_stay_small():
    """At their longest: names of a dozen choices, and every bound missed."""
    devices = ("local", "pi4", "jetson")
    ask = Ask(
        budget=Budget(max_drop=0.00001),
        files=(FileBound(kind="size", most=100),),
        latencies=tuple(LatencyBound(device=device, most=0.5) for device in devices),
    )
    name = "batch norm again, 0.375 of the MACs, 10 epochs at 0.0005, int8, entropy ranges, rounded together, 4 worst"
    shown = made_up(500, devices=devices, ask=ask)
    shown = replace(shown, trials=tuple(replace(one, name=name) for one in shown.trials))

    text = page(shown, RUN)

    assert len(Reader(text).rows()) == 500
    assert len(text.encode()) < 1_000_000


def test_it_says_what_compress_says(record, reported):
    made = made_of(record, record.chosen)

    assert {one.quantity: (one.before_bytes, one.after_bytes) for one in made.moved} == reported.balance.bytes_moved
    judged = reported.balance.judged
    assert [(part.name, part.samples, part.after, part.change) for part in made.classes] == [
        (one.name, one.samples, one.accuracy, change) for one, change in judged.after.lost_by_class(judged.before)
    ]
    was = {one.name: one.accuracy for one in judged.before.classes}
    assert {part.name: part.before for part in made.classes} == pytest.approx(was)
    assert made.layers == reported.layers
    assert sum(one.count for one in made.operators) == sum(one.count for one in reported.delivery.proof.operators)


def test_slices_have_what_they_had_before(record):
    scores = {"night": (0.5, 0.25), "day": (0.75, 0.9)}
    before, after = (_evaluation({name: both[at] for name, both in scores.items()}) for at in (0, 1))
    report = json.loads(json.dumps(record.artifacts[record.chosen]["report"]))
    report["moved"]["accuracy"] |= Judged(before=before, after=after).to_json()

    made = made_of(replace(record, artifacts={1: {"path": "a", "recipe": "r", "report": report}}), 1)

    assert [(part.name, part.before, part.after) for part in made.slices] == [
        ("camera=night", 0.5, 0.25),
        ("camera=day", 0.75, 0.9),
    ]


def _evaluation(scores):
    slices = tuple(
        SliceScore(column="camera", name=name, samples=40, score=score, standard_error=None, correct=int(40 * score))
        for name, score in scores.items()
    )
    return Evaluation(
        data="d", samples=80, metric=metric_named("accuracy"), score=0.5, standard_error=None, correct=40,
        answers=np.zeros(80, np.int64), classes=(), slices=slices,
    )  # fmt: skip


def test_a_damaged_record_is_said(record):
    with pytest.raises(DataError, match="artifact"):
        page(replace(record, artifacts={record.chosen: {"path": "a", "recipe": "b", "report": {}}}), RUN)


def test_the_commands_make_the_artifact_again_and_bring_it_to_its_device(record):
    typed = [one.typed for one in lines_of(record, RUN, record.trial(record.chosen))]

    assert typed[0] == COMMAND
    assert typed[1] == (
        "tinsmith compress 'my model.keras' --recipe run/recipe.yaml --data data.yaml --seed 3 --metric top-5 "
        "-o again.tflite"
    )
    assert typed[-1] == "tinsmith flash run/pi4.tin -d pi4"
    text = page(record, RUN)
    assert all(line.replace("'", "&#x27;") in text for line in typed)


def test_csv_has_a_row_a_trial_and_every_figure(record):
    rows = list(csv.DictReader(io.StringIO(csv_text(record))))

    assert [int(row["trial"]) for row in rows] == [trial.number for trial in record.trials]
    for row, trial in zip(rows, record.trials, strict=True):
        timed = trial.figures and trial.figures.on("pi4")
        assert row["flash_bytes"] == ("" if trial.figures is None else str(trial.figures.flash_bytes))
        assert row["median_ms@pi4"] == (str(timed.median_ms) if timed else "")


def test_markdown_is_short_and_has_the_pareto_set(record):
    text = markdown(record, RUN)

    assert len(text) < 6_000
    assert sum(line.startswith("| chosen |") for line in text.splitlines()) == 1
    assert all(f"| {number} |" in text for number in record.front)


def test_the_same_record_gives_the_same_files(record, tmp_path):
    for suffix in FORMS:
        for name in ("one", "two"):
            write_report(tmp_path / f"{name}{suffix}", record, RUN)
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert Record.from_json(json.loads((tmp_path / "one.json").read_text())).trials == record.trials


def test_what_devices_placed_is_kept_and_shown(record, tmp_path):
    placed = {"xnnpack": {"CONV_2D": 9}, "cpu": {"SOFTMAX": 1}}
    best = record.trial(record.chosen)
    timed = tuple(replace(one, placement=placed) for one in best.figures.timed)
    trials = [one if one is not best else replace(one, figures=one.figures.with_timed(timed)) for one in record.trials]
    replace(record, trials=tuple(trials)).write(tmp_path)

    read = read_record(tmp_path)

    assert read.trial(record.chosen).figures.on("pi4").placement == placed
    assert "9 CONV_2D" in page(read, RUN)


def test_ranks_are_by_record(record):
    assert rank_of(record.trial(record.chosen), record) == "chosen"
    assert all(rank_of(record.trial(n), record) in ("front", "chosen") for n in record.front)
