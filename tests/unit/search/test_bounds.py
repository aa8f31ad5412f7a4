from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.budget import Budget
from tinsmith.compress.search.bounds import (
    Ask,
    FileBound,
    LatencyBound,
    MemoryBound,
    bytes_of_text,
    latency_of_text,
    memory_of_text,
)
from tinsmith.compress.search.figures import Figures, Timed
from tinsmith.runtime.errors import UsageError

_TIMED = Timed(device="pi4", threads=1, median_ms=5.0, low_ms=4.9, high_ms=5.1, peak_memory_bytes=2**26)


def _figures(**facts):
    return Figures(**{"file_bytes": 1000, "zip_bytes": 500, "flash_bytes": 1000, **facts})


@pytest.mark.parametrize(
    ("text", "amount"),
    [("100KiB", 102_400), ("100kB", 100_000), ("100kb", 100_000), ("1.5 MiB", 1_572_864), ("7", 7), ("2GiB", 2**31)],
)
def test_bytes_are_read_as_people_write_them(text, amount):
    assert bytes_of_text(text) == amount


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1TB", "0", "0.1", "ten", "1e9", "nan"])
def test_what_is_no_amount_of_bytes_is_refused(text):
    with pytest.raises(UsageError, match="100KiB"):
        raise _hinted(lambda: bytes_of_text(text))


@pytest.mark.parametrize("text", ["5", "0ms", "5ms@", "ms@pi4", "5m@pi4", "@pi4", "-5ms"])
def test_what_is_no_time_on_a_device_is_refused(text):
    with pytest.raises(UsageError, match="5ms@pi4"):
        raise _hinted(lambda: latency_of_text(text))


def _hinted(call):
    """The error of a call, its hint in its message."""
    try:
        call()
    except UsageError as error:
        return UsageError(f"{error.message} {error.hint}")
    return AssertionError("nothing was raised")


def test_a_bound_without_a_device_is_about_this_machine():
    assert latency_of_text("5ms").name == "max-latency@local"
    assert latency_of_text("500us@pi4") == LatencyBound(device="pi4", most=0.5)
    assert memory_of_text("64MiB@pi4") == MemoryBound(device="pi4", most=2**26)


@pytest.mark.parametrize(
    "asked",
    [
        {"latencies": (latency_of_text("5ms@a"), latency_of_text("3ms@a"))},
        {"files": (FileBound(kind="size", most=1), FileBound(kind="size", most=2))},
        {"files": (FileBound(kind="size", most=200), FileBound(kind="flash", most=100))},
        {"files": (FileBound(kind="zip", most=0),)},
    ],
)
def test_bounds_that_contradict_each_other_are_refused(asked):
    with pytest.raises(UsageError):
        Ask(**asked)


def test_each_device_is_named_once_and_this_machine_where_none_is():
    assert Ask().devices == ("local",)
    asked = Ask(latencies=(latency_of_text("5ms@a"),), memories=(memory_of_text("1MiB@a"), memory_of_text("1MiB@b")))
    assert asked.devices == ("a", "b")


def test_what_was_not_measured_keeps_no_bound():
    ask = Ask(latencies=(latency_of_text("5ms@pi4"),), budget=Budget(max_drop=0.01))
    assert [standing.kept for standing in ask.standings(_figures())] == [False, False]


@given(most=st.integers(1, 10**9), size=st.integers(1, 10**9))
def test_a_bound_of_bytes_is_kept_exactly_below_it(most, size):
    (standing,) = Ask(files=(FileBound(kind="size", most=most),)).standings(_figures(file_bytes=size))
    assert standing.kept == (size <= most)


@given(most=st.integers(0, 1000), drop=st.integers(-1000, 1000))
def test_a_drop_is_held_as_the_budget_holds_it(most, drop):
    (standing,) = Ask(budget=Budget(max_drop=most / 1000)).standings(_figures(drop=drop / 1000))
    assert standing.kept == (drop <= most)


@pytest.mark.parametrize(("drop", "said"), [(-0.0225, "gained 2.25 points"), (0.0287, "lost 2.87 points")])
def test_a_gain_is_no_loss_below_nothing(drop, said):
    figures = _figures(drop=drop, class_drop=drop, worst="class ship")
    of_all, of_one = Ask(budget=Budget(max_drop=0.005, max_class_drop=0.005)).standings(figures)
    assert of_all.said == f"{said}, 0.50 points allowed"
    assert of_one.said == f"class ship {said}, 0.50 points allowed"


@given(least=st.integers(0, 1000), agreement=st.integers(0, 1000))
def test_an_agreement_is_held_from_below(least, agreement):
    (standing,) = Ask(budget=Budget(min_agreement=least / 1000)).standings(_figures(agreement=agreement / 1000))
    assert standing.kept == (agreement >= least)


def test_figures_survive_the_store():
    figures = _figures(drop=0.1, timed=(_TIMED,))
    assert Figures.from_json(figures.to_json()) == figures
