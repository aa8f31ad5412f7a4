"""What a benchmark found as JSON, CSV, Markdown and HTML: the same figures in all of them, published ones apart."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.benchmarking.charts import operators_plot, time_plot
from tinsmith.devices.benchmarking.findings import findings_of
from tinsmith.devices.benchmarking.output import FORMS, write_findings
from tinsmith.devices.benchmarking.page import findings_page
from tinsmith.devices.benchmarking.published import published_for
from tinsmith.devices.benchmarking.report import Report
from tinsmith.devices.benchmarking.sheets import csv_text, markdown
from tinsmith.devices.benchmarking.thresholds import read_threshold
from tinsmith.devices.benchmarking.windows import states_of, windows_of
from tinsmith.devices.inventory import local_device
from tinsmith.runtime.axes import ticks
from tinsmith.runtime.errors import OutputError, UsageError
from tinsmith.runtime.files import check_outputs
from tinsmith.runtime.measuring.conditions import Conditions
from tinsmith.runtime.operator_times import OperatorTime, OperatorTimes
from tinsmith.runtime.profile import load_profile

MS = 1_000_000
PI = replace(local_device(), name="a", profile=load_profile("raspberry-pi-4"))
WARMING = [Conditions(temperature_c=40.0 + 5 * at, frequency_mhz=1500.0) for at in range(6)]


@pytest.fixture
def findings(measured):
    def make(*thresholds, device=PI, **change):
        (m,) = measured([17 * MS, 18 * MS, 17 * MS, 19 * MS, 17 * MS], conditions=WARMING)
        report = Report(measurements=(replace(m, **{"artifact": "mobilenet_v2_int8.tflite", **change}),))
        return findings_of(report, [device], thresholds=[read_threshold(text) for text in thresholds])

    return make


def test_csv_has_a_row_each_with_units_in_its_header_and_nothing_published(findings):
    (row,) = csv.DictReader(io.StringIO(csv_text(findings())))

    assert (row["model"], row["device"], float(row["median_ms"])) == ("mobilenet_v2_int8.tflite", "a", 17.0)
    assert float(row["median_low_ms"]) <= 17.0 <= float(row["median_high_ms"])
    assert (row["p99_ms"], row["energy_joules"]) == ("", "")
    assert row["energy_method"] == "a fake counts no energy"
    assert "46" not in row.values()


def test_more_percentiles_are_more_columns(findings):
    found = replace(findings(), percentiles=(75.0, 90.0))

    (row,) = csv.DictReader(io.StringIO(csv_text(found)))

    assert float(row["p75_ms"]) == 18.0
    assert list(row)[-1] == "p75_ms"


def test_markdown_tables_are_whole_and_published_figures_stand_apart(findings):
    text = markdown(findings("p90>12ms", "peak>1GB", artifact="a|<b>.tflite"))

    lines = [line for line in text.splitlines() if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    assert set(columns[:3]) == {9}
    assert "**failed**" in text
    assert "FAILED: --fail-if p90>12ms" in text
    assert "<b>" not in text
    measured, published = text.split("published by others for raspberry-pi-4, not measured here")
    assert "17.0" in measured
    assert "XNNPACK" not in measured
    assert "| published |" in published


def test_a_gate_that_holds_is_kept(findings):
    found = findings("p90>120ms", "median<1ms")

    assert found.exit_code == 0
    assert "**kept**" in markdown(found)


def test_published_figures_are_those_of_the_model_where_its_name_tells():
    about = published_for(PI, ["mobilenet_v2_int8.tflite"])
    others = published_for(PI, ["my_net.tflite"])

    assert {reference.model for reference in about.references} == {"MobileNet v2"}
    assert about.named
    assert not others.named
    assert others.references == PI.profile.references
    assert {said["trust"] for said in others.to_json()} == {"published"}
    assert published_for(local_device(), ["mobilenet_v2.tflite"]) is None


def test_the_page_is_whole_needs_nothing_else_and_escapes_names(findings):
    found = findings("p90>12ms", artifact='"><script>x</script>.tflite')

    text = findings_page(found, command="tinsmith benchmark '<x>'")

    assert text.startswith("<!doctype html>")
    assert "<script" not in text
    assert not re.search(r"(?:src|href)=", text)
    assert text.count("<svg") == text.count("</svg>") == 1
    assert '<div class="published">' in text
    assert text.index('class="published"') > text.index("</svg>")
    assert '<li class="bad">FAILED' in text


def test_the_page_has_a_bar_for_each_operator_where_the_engine_told(findings, measured):
    operators = tuple(
        OperatorTime(name=f"n<{at}>", operator="CONV_2D", unit="cpu", time_ns=1000 * (at + 1)) for at in range(40)
    )
    drawn = operators_plot(operators)

    bars = ET.fromstring(drawn).findall("rect")
    widths = [float(bar.get("width")) for bar in bars]
    assert len(bars) == 31
    assert widths[:30] == sorted(widths[:30], reverse=True)
    assert "10 others" in drawn
    found = findings()
    (m,) = found.report.measurements
    silent = replace(m.processes[0], operators=OperatorTimes(operators=None, why="it has no profiler"))
    report = Report(measurements=(replace(m, processes=(silent, *m.processes[1:])),))
    assert "No time of operators: it has no profiler." in findings_page(findings_of(report, [PI]), command="")


def test_the_plot_over_time_shows_temperature_where_it_was_read(measured):
    (warm,), (unread,) = measured([MS] * 5, conditions=WARMING), measured([MS] * 5)

    assert "°C" in time_plot(warm)
    assert "MHz" in time_plot(warm)
    assert "°C" not in time_plot(unread)
    assert len(ET.fromstring(time_plot(warm)).findall("circle")) == 60 + 2 * 10
    assert len(ET.fromstring(time_plot(unread)).findall("circle")) == 60


@given(st.lists(st.integers(1, 10**9), min_size=5, max_size=80), st.integers(1, 200))
def test_windows_cover_each_process_in_order(measured, times, most):
    (measurement,) = measured(times)

    windows = windows_of(measurement, windows=most)

    moments = [window.at_s for window in windows]
    assert moments == sorted(moments)
    assert {window.process for window in windows} == set(range(len(times)))
    assert moments[-1] <= states_of(measurement)[-1].at_s
    assert len(windows) <= max(most, len(times))
    assert all(window.median_ms == times[window.process] / 1e6 for window in windows)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_are_round_lie_between_and_are_few(low, width, most):
    found = ticks(low, low + width, most=most)

    assert len(found) <= most + 1
    assert len(found) >= most // 5
    slack = 1e-6 * (width + abs(low))
    assert all(low - slack <= value <= low + width + slack for value in found)


@pytest.mark.parametrize("form", [".json", ".md", ".csv", ".html"])
def test_each_form_is_written_whole(findings, tmp_path, form):
    path = tmp_path / f"out{form}"
    check_outputs([path], FORMS)

    write_findings(path, findings("p90>12ms"), command="c")

    assert "mobilenet_v2_int8.tflite" in path.read_text()


def test_json_holds_raw_samples_what_was_judged_and_what_was_published(findings, tmp_path):
    write_findings(tmp_path / "x.json", findings("p90>12ms"), command="c")

    document = json.loads((tmp_path / "x.json").read_text())
    assert document["schema"] == 1
    assert document["measurements"][0]["processes"][0]["samples_ns"]
    assert [said["state"] for said in document["thresholds"]] == ["failed"]
    assert {said["trust"] for said in document["published"]} == {"published"}
    assert document["comparisons"] == []


def test_a_name_that_asks_for_no_form_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none of \.json, \.md, \.csv, \.html"):
        check_outputs([tmp_path / "out.pdf"], FORMS)
    with pytest.raises(OutputError):
        check_outputs([Path("/nowhere/out.md")], FORMS)
