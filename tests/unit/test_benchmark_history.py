"""What is kept of measurements, how much of it, and how it is shown."""

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.benchmarking.history import Entry, History, history_folder, series_of
from tinsmith.devices.benchmarking.page import history_page
from tinsmith.devices.commands.history_view import history_view, sparkline
from tinsmith.runtime.errors import OutputError
from tinsmith.runtime.fields import Fields
from tinsmith.runtime.measuring.conditions import Conditions

MS = 1_000_000


def at(measurement, day, **change):
    return replace(measurement, taken_at=f"2026-11-{day:02d}T10:00:00+00:00", **change)


def test_what_is_kept_gives_the_same_median_and_interval(measured, tmp_path):
    hot = Conditions(temperature_c=71.5, frequency_mhz=1500.0)
    (measurement,) = measured([MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS], conditions=[hot])
    history = History(tmp_path / "h")

    history.append([measurement])

    (entry,) = history.entries()
    assert (entry.median_ms, entry.interval_ms) == (measurement.median_ms, measurement.interval_ms)
    assert (entry.temperature_c, entry.verdict, entry.p90_ms) == (71.5, measurement.verdict.state, measurement.p90_ms)
    assert (tmp_path / "h").stat().st_mode & 0o777 == 0o700


def test_models_and_devices_are_kept_apart_and_found_by_hash_and_name(measured, tmp_path):
    (m,) = measured([MS] * 5)
    history = History(tmp_path)
    history.append([at(m, 3), at(m, 1, device="b"), at(m, 2, artifact_sha256="0" * 64)])

    assert [entry.taken_at[8:10] for entry in history.entries()] == ["01", "02", "03"]
    assert [entry.device for entry in history.entries(sha256=m.artifact_sha256)] == ["b", "a"]
    assert [entry.device for entry in history.entries(devices=["b"])] == ["b"]
    assert len(list(tmp_path.glob("*.jsonl"))) == 3


def test_the_oldest_lines_and_the_files_unused_for_longest_go(measured, tmp_path):
    (m,) = measured([MS] * 5)
    history = History(tmp_path, most_lines=3, most_files=2)
    for day in range(1, 6):
        history.append([at(m, day)])
    assert [entry.taken_at[8:10] for entry in history.entries()] == ["03", "04", "05"]

    for number, device in enumerate("bc"):
        history.append([at(m, 6, device=device)])
        import os

        os.utime(tmp_path / f"{m.artifact_sha256}.{device}.jsonl", (2**33 + number, 2**33 + number))

    assert {entry.device for entry in history.entries()} == {"b", "c"}


def test_many_at_once_lose_nothing(measured, tmp_path):
    (m,) = measured([MS] * 5)
    threads = [threading.Thread(target=History(tmp_path).append, args=([at(m, day)],)) for day in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(History(tmp_path).entries()) == 8


def test_damaged_lines_cost_the_others_nothing(measured, tmp_path, caplog):
    (m,) = measured([MS] * 5)
    history = History(tmp_path)
    history.append([m])
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(b'{"schema": 99}\n{"half' + b"\n" + path.read_bytes())

    assert len(history.entries()) == 1
    assert "newer than this tinsmith knows" in caplog.text
    history.append([m])
    assert len(history.entries()) == 2


def test_a_history_that_can_t_be_written_says_where(measured, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="file"):
        History(tmp_path / "file" / "h").append(measured([MS] * 5))


def test_there_is_none_before_anything_was_measured(tmp_path):
    assert History(tmp_path / "none").entries() == ()
    assert "Nothing was measured" in history_view([])[0]


def test_it_lies_in_the_folder_for_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert history_folder() == tmp_path / "tinsmith" / "benchmarks"


def test_measurements_of_another_way_are_another_series(measured):
    (m,) = measured([MS] * 5)
    entries = [Entry.of(one) for one in (at(m, 1), at(m, 2, threads=4), at(m, 3), at(m, 4, engine_version="9"))]

    series = series_of(entries)

    assert [[entry.taken_at[8:10] for entry in one.entries] for one in series] == [["01", "03", "04"], ["02"]]
    assert "4 thread(s)" in series[1].title


def test_an_entry_survives_its_line(measured):
    entry = Entry.of(*measured([MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS]))

    assert Entry.read(Fields(entry.to_json(), of="it", hint="")) == entry


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=80))
def test_a_line_of_bars_keeps_the_order_of_its_figures(values):
    bars = sparkline(values)

    assert len(bars) == len(values)
    pairs = sorted(zip(values, bars, strict=True))
    assert [bar for _, bar in pairs] == sorted(bars)


def test_figures_that_hardly_differ_look_alike_and_a_step_does_not():
    assert len(set(sparkline([1.0, 1.005, 0.998, 1.002]))) <= 2
    assert sparkline([1.0] * 3 + [1.5] * 3) == "▁▁▁███"


def test_the_page_shows_each_series_with_what_a_name_may_hold(measured):
    (m,) = measured([MS] * 5)
    entries = [Entry.of(at(m, day, artifact="<b>&.tflite")) for day in (1, 2)]

    text = history_page(series_of(entries))

    assert text.count("<svg") == 1
    assert text.count("<circle") == 2
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;.tflite" in text


def test_what_was_measured_on_one_day_is_told_apart_by_the_time(measured):
    (m,) = measured([MS] * 5)
    times = [replace(m, taken_at=f"2026-11-01T{hour}:30:00+00:00") for hour in (10, 14)]
    of_one_day, of_two = (history_page(series_of([Entry.of(one) for one in some]))
                          for some in (times, [*times, at(m, 2)]))  # fmt: skip

    assert ">14:30<" in of_one_day
    assert ">2026-11-01<" not in of_one_day
    assert ">2026-11-02<" in of_two
    assert ">14:30<" not in of_two
