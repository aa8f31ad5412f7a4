"""Thresholds: what they read, and what they judge."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.benchmarking.effort import EFFORTS, sustained
from tinsmith.devices.benchmarking.thresholds import check_judgeable, judge, read_threshold
from tinsmith.devices.inventory import local_device
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.measuring.energy import Energy
from tinsmith.runtime.profile import load_profile

MS = 1_000_000


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("median>2ms", "kept"),
        ("median>1999us", "failed"),
        ("median >= 2 ms", "failed"),
        ("p90>0.0019s", "failed"),
        ("p50<2ms", "kept"),
        ("load>3ms", "kept"),
        ("load<=3000us", "failed"),
        ("first>3.9ms", "failed"),
        ("peak>40MiB", "kept"),
        ("peak>41.9MB", "failed"),
        ("size>1kB", "failed"),
        ("throughput<501/s", "failed"),
        ("throughput<=499/s", "kept"),
    ],
)
def test_a_threshold_judges_in_its_own_unit(measured, text, state):
    (measurement,) = measured([2 * MS] * 5)

    judgement = judge(measurement, read_threshold(text))

    assert judgement.state == state
    assert judgement.exit_code == (state == "failed")
    assert judgement.threshold.text == text.replace(" ", "")


@given(st.floats(0.001, 1000), st.sampled_from(["ns", "us", "ms", "s"]))
def test_a_unit_changes_the_number_and_never_the_verdict(limit_ms, unit):
    from tinsmith.devices.benchmarking.thresholds import _TIME

    threshold = read_threshold(f"median>{limit_ms / _TIME[unit]!r}{unit}")

    assert threshold.limit * _TIME[unit] == pytest.approx(limit_ms)
    assert not threshold.crossed(threshold.limit)
    assert threshold.crossed(threshold.limit * 1.001)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p90", "no quantity, sign, number and unit"),
        ("p90>12", "lacks a unit"),
        ("p90>12kB", "has no unit 'kB'"),
        ("peak>12ms", "has no unit 'ms'"),
        ("speed>12ms", "'speed' is not measured"),
        ("p0>12ms", "'p0' is not measured"),
        ("p100>12ms", "'p100' is not measured"),
        ("p90>-1ms", "no quantity"),
        ("p90=12ms", "no quantity"),
        ("p90>nanms", "no quantity"),
    ],
)
def test_what_nobody_can_judge_is_refused_with_a_list_of_what_can(text, said):
    with pytest.raises(UsageError, match=said) as refused:
        read_threshold(text)

    assert "throughput /s" in refused.value.hint


@pytest.mark.parametrize(("text", "effort"), [("p99>1ms", "rapid"), ("p99>1ms", "quick"), ("p99.9>1ms", "normal")])
def test_a_percentile_without_enough_runs_is_refused_before_anything_is_measured(text, effort):
    with pytest.raises(UsageError, match="runs"):
        check_judgeable([read_threshold(text)], EFFORTS[effort], [local_device()])


@pytest.mark.parametrize(("text", "effort"), [("p90>1ms", "rapid"), ("p95>1ms", "quick"), ("p99.9>1ms", "full")])
def test_a_percentile_with_enough_runs_is_not(text, effort):
    check_judgeable([read_threshold(text)], EFFORTS[effort], [local_device()])
    check_judgeable([read_threshold(text)], sustained(600), [local_device()])


def test_time_of_an_emulated_device_is_never_judged_and_its_memory_is():
    virtual = replace(local_device(), name="v", profile=load_profile("virtual-arm64"))

    check_judgeable([read_threshold("peak>1MB"), read_threshold("size>1MB")], EFFORTS["quick"], [virtual])
    for text in ("median>1ms", "throughput<1/s", "energy>1J", "load>1s"):
        with pytest.raises(UsageError, match="the CPU of v is emulated"):
            check_judgeable([read_threshold(text)], EFFORTS["quick"], [virtual])


def test_too_few_runs_in_the_time_there_was_are_not_judged(measured):
    (measurement,) = measured([2 * MS] * 5)

    judgement = judge(measurement, read_threshold("p99.9>1ms"))

    assert (judgement.state, judgement.found, judgement.exit_code) == ("not judged", None, 2)
    assert judgement.why == "p99.9 needs 6636 runs, and 130 were made in the time there was"


def test_energy_is_judged_where_it_was_counted(measured):
    counted = Energy(method="RAPL package-0", joules=10.0, seconds=2.0, idle_watts=1.5)
    (measurement,) = measured([2 * MS] * 5, energy=counted)
    runs = measurement.processes[0].runs

    assert judge(measurement, read_threshold("energy>1mJ")).found == pytest.approx(1000 * 7.0 / runs)
    assert judge(*measured([2 * MS] * 5), read_threshold("energy>1J")).why.startswith("no energy was measured")
