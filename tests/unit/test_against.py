"""A measurement against another: regressions are found, and noise is none."""

import json
import random
from dataclasses import replace

import pytest

from tinsmith.devices.benchmarking.against import compare_apart, compare_in_turns
from tinsmith.devices.benchmarking.benchmark import benchmark
from tinsmith.devices.benchmarking.earlier import read_earlier
from tinsmith.devices.benchmarking.effort import EFFORTS, Plan
from tinsmith.devices.benchmarking.fake import FakeMeasurer
from tinsmith.devices.benchmarking.findings import findings_of
from tinsmith.devices.benchmarking.subject import subject_of
from tinsmith.devices.inventory import local_device
from tinsmith.runtime.errors import LinkLostError, UsageError
from tinsmith.runtime.measuring.usage import Usage

MS = 1_000_000
HOG = Usage(wall_s=2.0, others_cores=0.9)


def spread(chance, factor=1.0, *, count=5, deviation=0.05):
    return [round(factor * MS * chance.lognormvariate(0, deviation)) for _ in range(count)]


def drifting(chance, factor=1.0, *, count=5):
    """Both take turns on a device that gets slower by the half."""
    return [round(factor * MS * (1 + 0.5 * at / count) * chance.lognormvariate(0, 0.01)) for at in range(count)]


def test_noise_is_no_regression(measured):
    chance = random.Random(0)
    states = []
    for _ in range(20):
        (one,), (other,) = measured(spread(chance)), measured(spread(chance))
        states += [compare_in_turns(one, other).state, compare_apart(one, other).state]

    assert states.count("slower") <= 2
    assert states.count("no difference shown") >= 32


def test_a_regression_of_a_fifth_is_found(measured):
    chance = random.Random(1)
    found = []
    for _ in range(10):
        (one,), (other,) = measured(spread(chance, 1.2, deviation=0.02)), measured(spread(chance, deviation=0.02))
        found += [compare_in_turns(one, other), compare_apart(one, other)]

    assert sum(comparison.exit_code for comparison in found) >= 19
    assert all(comparison.exit_code in {0, 1} for comparison in found)


def test_a_drift_that_both_suffer_hides_nothing_from_those_that_took_turns(measured):
    chance = random.Random(2)
    (one,), (other,) = measured(drifting(chance, 1.1)), measured(drifting(chance))

    assert compare_in_turns(one, other).state == "slower"
    assert compare_in_turns(other, one).state == "faster"
    assert compare_apart(one, other).state != "slower"


def test_a_disturbed_measurement_is_not_judged_against_an_earlier_one(measured):
    (one,), (other,) = measured([3 * MS] * 5, usage=HOG), measured([MS] * 5)

    apart = compare_apart(one, other)

    assert (apart.state, apart.exit_code, apart.ratio) == ("not judged", 0, 3.0)
    assert apart.why.startswith("this measurement is noisy: other programs used 0.90 cores; --against MODEL")
    assert compare_apart(other, one).why.startswith(f"the one of {one.taken_at} is noisy")
    assert compare_in_turns(one, other).state == "slower"  # the other was disturbed alike


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threads": 4}, "threads was 4, and is 1"),
        ({"engine": "onnxruntime"}, "engine was onnxruntime, and is litert"),
        ({"accelerator": "edgetpu"}, "accelerator was edgetpu, and is cpu"),
        ({"environment": {"cpu": "Cortex-A53", "cores": "4", "machine": "aarch64"}}, "cpu was Cortex-A53, and is Cor"),
    ],
)
def test_what_was_measured_in_another_way_can_t_be_compared(measured, change, said):
    (one,) = measured([MS] * 5)

    comparison = compare_apart(one, replace(one, **change))

    assert (comparison.state, comparison.ratio, comparison.exit_code) == ("refused", None, 2)
    assert said in comparison.why


def test_another_version_of_the_engine_is_what_may_regress(measured):
    (one,) = measured([MS] * 5)

    assert compare_apart(one, replace(one, engine_version="2.2.0")).state == "no difference shown"


def test_four_processes_are_not_judged(measured):
    (one,) = measured([MS] * 5)
    cut = replace(one, processes=one.processes[:4])

    assert compare_in_turns(one, cut).exit_code == 2
    assert "takes 5" in compare_apart(cut, one).why


def test_the_other_model_takes_turns_and_is_not_judged_itself(golden):
    devices = [replace(local_device(), name=name) for name in "ab"]
    fakes = {"a": FakeMeasurer(), "b": FakeMeasurer(failures={3: LinkLostError("b: gone")})}
    models = [golden / "dense.tflite", golden / "cnn.onnx"]

    report = benchmark(models, devices, measurer_of=lambda device: fakes[device.name])
    findings = findings_of(report, devices, against=subject_of(models[1]))

    assert [(c.device, c.artifact, c.against, c.exit_code) for c in findings.comparisons] == [
        ("a", "dense.tflite", "cnn.onnx", 0), ("b", "dense.tflite", "cnn.onnx", 2),
    ]  # fmt: skip
    assert findings.exit_code == 5


def test_a_model_against_itself_is_compared_once(golden):
    path, device = golden / "dense.tflite", local_device()
    report = benchmark([path, path], [device], measurer_of=lambda _: FakeMeasurer())

    (comparison,) = findings_of(report, [device], against=subject_of(path)).comparisons

    assert (comparison.ratio, comparison.state) == (1.0, "no difference shown")


@pytest.fixture
def result(measured, tmp_path):
    def write(*measurements, **more):
        path = tmp_path / "result.json"
        found = [m.to_json() for m in measurements or measured([MS] * 5)]
        path.write_text(json.dumps({"schema": 1, "measurements": found, **more}))
        return path

    return write


def check(path, golden, model="dense.tflite", *, name="a", other_model=False, plan=None):
    device = replace(local_device(), name=name)
    plan = plan or Plan(threads=1)
    read_earlier(path, other_model=other_model).check([subject_of(golden / model)], [device], plan)


def test_an_earlier_result_of_the_same_model_and_device_is_taken(result, golden):
    check(result(), golden)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"model": "cnn.onnx"}, "it is of another model on a: of dense.tflite"),
        ({"name": "b"}, "no measurement of the device b, but of a"),
        ({"plan": Plan(threads=2)}, "with threads 1, and will be with 2"),
        ({"plan": Plan(threads=1, scenario="offline")}, "with scenario single-stream, and will be with offline"),
    ],
)
def test_an_earlier_result_of_something_else_is_refused_before_anything_is_measured(result, golden, how, said):
    with pytest.raises(UsageError, match=said):
        check(result(), golden, **how)


def test_different_models_are_compared_on_purpose_alone(result, golden, measured):
    check(result(), golden, "cnn.onnx", other_model=True)
    (one,) = measured([MS] * 5)
    several = result(one, replace(one, artifact="x.tflite", artifact_sha256="0" * 64))

    with pytest.raises(UsageError, match=r"several models, none of them called cnn\.onnx"):
        check(several, golden, "cnn.onnx", other_model=True)


def test_the_newest_of_several_counts(result, measured, golden):
    (old,) = measured([MS] * 5)
    new = replace(old, taken_at="2099-01-01T00:00:00+00:00")

    earlier = read_earlier(result(new, old))

    assert earlier.of("dense.tflite", old.artifact_sha256, "a") == new


def test_an_earlier_result_of_too_few_processes_is_refused(result, measured, golden):
    (one,) = measured([MS] * 5)

    with pytest.raises(UsageError, match=r"4 process\(es\), and an interval takes 5"):
        check(result(replace(one, processes=one.processes[:4])), golden)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "damaged"),
        ("[]", "no object"),
        ('{"schema": 2, "measurements": []}', "newer"),
        ('{"schema": 1, "error": {}}', "no result of a benchmark"),
        ('{"schema": 1, "measurements": []}', "holds no measurement"),
        ('{"schema": 1, "measurements": [{"measurement_schema": 2}]}', "older tinsmith"),
        ('{"schema": 1, "measurements": [{"measurement_schema": 99}]}', "newer than this"),
        ('{"schema": 1, "measurements": 3}', "measurements"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path, content, said):
    path = tmp_path / "x.json"
    path.write_text(content)

    with pytest.raises(UsageError, match=said):
        read_earlier(path)


def test_efforts_have_the_processes_that_a_comparison_takes():
    assert all(effort.processes >= 5 for effort in EFFORTS.values())
