"""How much one process measures, and artifacts that wait to be measured."""

import hashlib
import math
import os
from statistics import NormalDist, mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.agent.requests import request_json
from tinsmith.runtime.errors import DataError, ModelLoadError
from tinsmith.runtime.feeds import random_feeds
from tinsmith.runtime.intervals import bootstrap
from tinsmith.runtime.measuring.measure import operators_of, time_amount
from tinsmith.runtime.measuring.requests import Amount, Held, Measure, read_request
from tinsmith.runtime.measuring.shelf import Shelf
from tinsmith.runtime.sandbox import Sandbox, Timed
from tinsmith.runtime.timing import early_stopping, median


class Model:
    """Runs take the same time, but for a slow first one, on a clock that only they move."""

    def __init__(self, run_ns, first_ns=0):
        self.now, self.run_ns, self.first_ns = 0, run_ns, first_ns or run_ns

    def __call__(self):
        return self.now

    def time_some(self, runs, budget_ns, every):
        done, samples = 0, []
        began = self.now
        while not done or (done < runs and self.now - began < budget_ns):
            samples.append(self.first_ns if self.now == 0 else self.run_ns)
            self.now += samples[-1]
            done += 1
        return Timed(samples_ns=samples[::every], runs=done, peak_memory_bytes=1)


@given(st.integers(10**4, 10**9), st.integers(1, 200), st.floats(0, 1), st.floats(1, 3))
def test_both_leasts_are_reached_unless_the_most_is(run_ns, runs, least_s, most_s):
    model = Model(run_ns)

    timed = time_amount(model.time_some, Amount(runs=runs, least_s=least_s, most_s=most_s), clock=model)

    spent_s = timed.query_ns / 1e9
    assert timed.query_ns == timed.runs * run_ns
    assert (timed.runs >= runs and spent_s >= least_s - 1e-8) or spent_s >= most_s - 1e-8
    assert spent_s <= max(most_s, 0.02) + run_ns / 1e9
    assert len(timed.samples_ns) <= timed.runs
    if least_s == 0 and runs * run_ns < most_s * 1e9:
        assert timed.runs == runs


def test_of_many_runs_evenly_spread_ones_are_kept():
    model = Model(10_000, first_ns=1_000_000)

    timed = time_amount(model.time_some, Amount(runs=1, least_s=1.0, kept=1000), clock=model)

    assert timed.runs == 99_901
    assert timed.kept_every == 100
    assert 1000 <= len(timed.samples_ns) <= 1100


def test_requests_survive_their_documents():
    measure = Measure(path="bench/x.onnx", sha256="0" * 64, amount=Amount(runs=3, least_s=0.5), operators=True)
    held = Held(sha256="1" * 64, size_bytes=5, format="onnx")
    import json

    for request in (measure, held):
        assert read_request(json.dumps(request_json(request)).encode()) == request


@pytest.mark.parametrize("change", [{"threads": 0}, {"scenario": "server"}, {"amount": {}}, {"more": 1}, {"schema": 9}])
def test_a_request_that_nobody_knows_is_refused(change):
    import json

    document = request_json(Measure(path="x", sha256="0" * 64, amount=Amount(runs=3)))

    with pytest.raises(DataError):
        read_request(json.dumps({**document, **change}).encode())


def held(content, artifact_format="tflite"):
    return Held(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), format=artifact_format)


def bring(shelf, base, content):
    (base / shelf.held(held(content)).path).write_bytes(content)
    return shelf.held(held(content))


def test_the_shelf_says_how_much_has_come_and_takes_in_what_is_whole(tmp_path):
    shelf, content = Shelf(tmp_path), b"0123456789"

    empty = shelf.held(held(content))
    assert (empty.whole, empty.part_bytes) == (False, 0)

    (tmp_path / empty.path).write_bytes(content[:4])
    begun = shelf.held(held(content))
    assert (begun.whole, begun.part_bytes, begun.part_prefix) == (False, 4, hashlib.sha256(b"0123").hexdigest())

    (tmp_path / empty.path).write_bytes(content)
    whole = shelf.held(held(content))
    assert whole.whole
    assert (tmp_path / whole.path).read_bytes() == content
    assert not (tmp_path / empty.path).exists()


def test_what_is_something_else_goes(tmp_path):
    shelf = Shelf(tmp_path)
    path = tmp_path / shelf.held(held(b"abc")).path
    path.write_bytes(b"xyz")

    again = shelf.held(held(b"abc"))

    assert (again.whole, again.part_bytes, path.exists()) == (False, 0, False)


def test_the_least_recently_used_go_and_never_the_one_that_is_asked_for(tmp_path):
    shelf = Shelf(tmp_path, most_bytes=30)
    paths = []
    for number in range(3):
        paths.append(tmp_path / bring(shelf, tmp_path, bytes([number]) * 10).path)
        os.utime(paths[-1], (number, number))
    shelf.held(held(bytes([0]) * 10))  # used again

    large = bring(shelf, tmp_path, b"n" * 20)

    assert [path.exists() for path in paths] == [True, False, False]
    assert bring(shelf, tmp_path, b"h" * 40).whole
    assert not (tmp_path / large.path).exists()


@given(st.lists(st.floats(1, 100), min_size=5, max_size=20), st.floats(0.5, 2))
def test_an_interval_scales_with_its_unit_and_says_the_same_each_time(medians, factor):
    interval = bootstrap(medians, median)
    scaled = bootstrap([factor * m for m in medians], median)

    assert bootstrap(medians, median) == interval
    assert (scaled.low, scaled.high) == pytest.approx((factor * interval.low, factor * interval.high))


def test_four_processes_have_no_interval():
    assert bootstrap([1.0] * 4, median) is None
    assert median([1.0] * 5) in bootstrap([1.0] * 5, median)


def test_an_interval_of_a_mean_is_as_wide_as_students():
    medians = [NormalDist(1, 0.02).inv_cdf((number + 0.5) / 8) for number in range(8)]
    interval = bootstrap(medians, mean)
    students = 2 * 2.365 * stdev(medians) / math.sqrt(8)
    assert interval.high - interval.low == pytest.approx(students, rel=0.08)


@given(st.lists(st.integers(1, 10**6), min_size=64, max_size=400))
def test_the_bound_of_early_stopping_lies_above_the_percentile(samples):
    bound = early_stopping(samples, 90)

    assert bound in samples
    assert sum(s > bound for s in samples) <= 0.1 * len(samples)


def test_early_stopping_drops_as_many_as_loadgen_does():
    # mlcommons-loadgen 6.0.17, SingleStream of as many queries: "overlatency queries" of its log, t
    assert early_stopping(range(63), 90) is None
    assert early_stopping(range(64), 90) == 63
    assert [n - early_stopping(range(n), 90) for n in (64, 1024)] == [1, 80]


def test_a_profiler_that_dies_costs_the_measurement_nothing():
    class Dying:
        def operators(self, feeds, *, runs):
            raise ModelLoadError("the engine died on m.tflite (SIGSEGV)")

    times = operators_of(Dying(), {})

    assert times.operators is None
    assert "SIGSEGV" in times.why


def test_many_short_runs_are_no_model_that_hangs(golden):
    with Sandbox(time_limit_s=5) as sandbox:
        opened = sandbox.open(golden / "dense.tflite")
        sandbox._time_limit_s = 0.5
        feeds = random_feeds(opened.inputs, seed=0)

        assert sandbox.warm_up(feeds).runs
        assert sandbox.time_some(feeds, runs=1 << 40).runs
