"""A benchmark over several models and devices: turns, losses, and what is kept of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.benchmarking.benchmark import benchmark
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan, sustained
from tinsmith.devices.benchmarking.fake import FakeMeasurer
from tinsmith.devices.benchmarking.rows import rows_of
from tinsmith.devices.benchmarking.schedule import interleaved
from tinsmith.devices.inventory import local_device
from tinsmith.runtime.errors import LinkLostError, ModelTimeoutError, UsageError
from tinsmith.runtime.measurement import Measurement
from tinsmith.runtime.measuring.conditions import Conditions
from tinsmith.runtime.measuring.usage import Usage
from tinsmith.runtime.profile import load_profile
from tinsmith.runtime.timing import runs_needed

GOLDEN = Path(__file__).parents[1] / "golden"
LOST = LinkLostError("b: running sh: the link was lost", hint="see whether it is on")


@pytest.fixture
def models(golden):
    return [golden / "dense.tflite", golden / "cnn.onnx"]


def devices(*names):
    return [replace(local_device(), name=name) for name in names]


def measured(models, fakes, plan=None):
    return benchmark(models, devices(*fakes), plan, measurer_of=lambda device: fakes[device.name])


@given(st.lists(st.integers(), min_size=1, max_size=5, unique=True), st.integers(1, 8))
def test_all_have_the_same_number_of_turns_and_a_drift_falls_on_all_alike(subjects, rounds):
    turns = list(interleaved(subjects, 2 * rounds))

    places = {s: [i for i, (_, subject) in enumerate(turns) if subject == s] for s in subjects}
    assert {len(found) for found in places.values()} == {2 * rounds}
    assert len({sum(found) for found in places.values()}) == 1


@pytest.mark.parametrize(("name", "percent"), [("rapid", 90), ("quick", 95), ("normal", 99), ("full", 99.9)])
def test_each_effort_supports_an_interval_and_its_percentile(name, percent):
    effort = EFFORTS[name]

    assert effort.processes >= 5
    assert effort.least_runs >= runs_needed(percent)
    assert effort.amount.least_s <= effort.amount.most_s


def test_a_sustained_run_is_a_process_a_minute():
    assert (sustained(600).processes, sustained(600).amount.least_s) == (10, 60)
    with pytest.raises(UsageError, match="5 minutes"):
        sustained(120)


def test_models_and_devices_take_turns_and_each_device_gets_each_model_once(models):
    fakes = {"a": FakeMeasurer(), "b": FakeMeasurer()}

    report = measured(models, fakes)

    assert [(m.device, m.artifact, len(m.processes)) for m in report.measurements] == [
        (device, model.name, 5) for device in "ab" for model in models
    ]
    formats = [request.path.rpartition(".")[2] for request in fakes["a"].asked]
    assert formats == ["tflite", "onnx", "onnx", "tflite", "tflite", "onnx", "onnx", "tflite", "tflite", "onnx"]
    assert len(fakes["a"].held) == 2
    assert all(fake.closed for fake in fakes.values())
    assert (report.exit_code, report.failures) == (0, ())


def test_only_the_first_process_of_each_is_asked_for_operators(models):
    fake = FakeMeasurer()

    measured(models, {"a": fake}, Plan(operators=True))

    assert [request.operators for request in fake.asked] == [True, True] + [False] * 8


def test_a_device_that_goes_away_is_asked_no_more_and_what_it_measured_is_kept(models):
    fakes = {"a": FakeMeasurer(), "b": FakeMeasurer(failures={5: LOST})}

    report = measured(models, fakes)

    assert {(m.device, m.artifact): len(m.processes) for m in report.measurements} == {
        ("a", "dense.tflite"): 5, ("a", "cnn.onnx"): 5, ("b", "dense.tflite"): 3, ("b", "cnn.onnx"): 2,
    }  # fmt: skip
    assert len(fakes["b"].asked) == 6
    assert [(f.device, f.artifact, f.processes, f.error) for f in report.failures] == [
        ("b", "dense.tflite", 3, LOST), ("b", "cnn.onnx", 2, LOST),
    ]  # fmt: skip
    assert report.exit_code == 5
    verdict = report.measurements[-1].verdict
    assert verdict.state == "noisy"
    assert "the link was lost" in verdict.reasons[0]
    assert report.measurements[0].verdict.state == "stable"


def test_a_model_that_hangs_costs_the_others_nothing(models):
    hangs = ModelTimeoutError("a: measuring: it did not answer")

    report = measured(models, {"a": FakeMeasurer(failures={0: hangs})})

    assert [(m.artifact, len(m.processes)) for m in report.measurements] == [("cnn.onnx", 5)]
    assert [(f.artifact, f.processes, f.error) for f in report.failures] == [("dense.tflite", 0, hangs)]
    assert report.exit_code == 4


def test_the_worst_of_all_failures_is_the_exit_code(models):
    hangs = ModelTimeoutError("a: measuring: it did not answer")

    report = measured(models, {"a": FakeMeasurer(failures={1: hangs}), "b": FakeMeasurer(failures={0: LOST})})

    assert report.exit_code == 5


def test_raw_samples_and_conditions_survive_the_document(models):
    hot = Conditions(governor="ondemand", temperature_c=71.5, throttled_bits=4, unread={"cooling": "none"})
    (measurement, _) = measured(models, {"a": FakeMeasurer((10, 20), conditions=(Conditions(), hot))}).measurements

    assert Measurement.from_json(measurement.to_json()) == measurement


@given(st.lists(st.integers(1, 10**9), min_size=5, max_size=12))
def test_the_median_lies_in_its_interval_and_in_what_was_measured(times):
    (measurement,) = benchmark_of(times)

    interval = measurement.interval_ms
    assert interval.low <= measurement.median_ms <= interval.high
    assert min(times) / 1e6 <= interval.low
    assert interval.high <= max(times) / 1e6


def benchmark_of(times, **fake):
    effort = replace(EFFORTS["quick"], processes=len(times))
    return measured([GOLDEN / "dense.tflite"], {"a": FakeMeasurer(times, **fake)}, Plan(effort=effort)).measurements


@pytest.mark.parametrize(
    ("usage", "said"),
    [
        (Usage(wall_s=2.0, others_cores=0.9), "other programs used 0.90 cores"),
        (Usage(wall_s=2.0, steal_cores=0.2), "the hypervisor gave 0.20 cores"),
        (Usage(wall_s=2.0, waited_share=0.25), "waited for a core 0.25 s each second"),
        (Usage(wall_s=2.0, quota_share=0.5), "CPU limit held it back 50 %"),
        (Usage(wall_s=2.0, clock_jump_ms=-3000.0), "jumped by 2996 ms"),
    ],
)
def test_what_disturbed_it_is_said(usage, said):
    (measurement,) = benchmark_of([100] * 5, usage=usage)

    assert measurement.verdict.state == "noisy"
    assert len(measurement.verdict.reasons) == 1
    assert said in measurement.verdict.reasons[0]


def test_a_speed_that_never_got_steady_is_noisy():
    (measurement,) = benchmark_of([100] * 5, steady=False)

    assert measurement.verdict.reasons == ("the speed was not steady after the warm-up in 5 of 5 processes",)


def test_counters_that_can_t_be_read_accuse_nobody_and_the_verdict_says_which():
    (measurement,) = benchmark_of([100] * 5, usage=Usage(wall_s=2.0, unread={"others_cores": "not there"}))

    assert measurement.verdict.state == "stable"
    assert measurement.verdict.unseen == ("others_cores",)


@pytest.mark.parametrize(
    ("unread", "unseen"),
    [
        (("governor",), ("governor",)),
        (("governor", "cooling", "throttled_bits"), ("governor",)),
        (("cooling", "limit_mhz", "throttled_bits"), ("throttling",)),
    ],
)
def test_a_governor_that_can_t_be_read_is_said_and_throttling_where_nothing_tells_of_it(unread, unseen):
    blind = Conditions(unread=dict.fromkeys(unread, "not there"))

    (measurement,) = benchmark_of([100] * 5, conditions=(blind,))

    assert (measurement.verdict.state, measurement.verdict.unseen) == ("stable", unseen)
    assert measurement.verdict.to_json()["unseen"] == list(unseen)


@pytest.mark.parametrize(
    ("conditions", "times", "said"),
    [
        ((Conditions(throttled_bits=0), Conditions(throttled_bits=0b100)), [100] * 5, "throttled"),
        ((Conditions(throttled_bits=0), Conditions(throttled_bits=1 << 16)), [100] * 5, "under-voltage for a while"),
        ((Conditions(limit_mhz=1500.0), Conditions(limit_mhz=600.0)), [100] * 5, "fell from 1500 to 600 MHz"),
        ((Conditions(cooling=0), Conditions(cooling=2)), [100] * 5, "2 step(s)"),
        ((Conditions(temperature_c=40.0), Conditions(temperature_c=80.0)), [100, 100, 110, 120, 130], "1.30 times"),
    ],
)
def test_a_device_that_slows_itself_down_is_throttled(conditions, times, said):
    (measurement,) = benchmark_of(times, conditions=conditions)

    assert measurement.verdict.state == "throttled"
    assert said in " ".join(measurement.verdict.reasons)


def test_what_a_board_suffered_before_the_benchmark_is_not_held_against_it():
    long_ago = Conditions(throttled_bits=0xF0000, temperature_c=60.0, limit_mhz=1500.0)

    (measurement,) = benchmark_of([100] * 5, conditions=(long_ago,))

    assert measurement.verdict.state == "stable"


def test_a_row_holds_what_the_table_shows():
    (row,) = rows_of(benchmark_of([1_000_000, 1_010_000, 1_020_000, 1_010_000, 1_000_000]))

    assert (row.model, row.device, row.median_ms, row.verdict) == ("dense.tflite", "a", 1.01, "stable")
    assert (row.interval_ms.low, row.interval_ms.high) == (1.0, 1.02)
    assert row.throughput_per_s == pytest.approx(1 / 1.01e-3)


def test_emulated_time_is_never_stable():
    virtual = replace(local_device(), name="v", profile=load_profile("virtual-arm64"))
    model = GOLDEN / "dense.tflite"

    (measurement,) = benchmark([model], [virtual], measurer_of=lambda _: FakeMeasurer()).measurements

    assert measurement.verdict.state == "noisy"
    assert "emulated" in measurement.verdict.reasons[0]
    assert Measurement.from_json(measurement.to_json()).emulated


def test_fewer_processes_than_an_interval_takes_are_noisy():
    (measurement,) = benchmark_of([100] * 4)

    assert measurement.interval_ms is None
    assert measurement.verdict.reasons == ("4 process(es) measured, and an interval takes 5",)
