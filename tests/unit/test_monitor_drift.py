"""The tests of drift keep the rate of false alarms that they state, and find what they must."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.monitor.building import build_reference
from tinsmith.runtime.monitor.distributions import (
    binomial_tail,
    chi_square_limit,
    chi_square_tail,
    kolmogorov_limit,
)
from tinsmith.runtime.monitor.drift import compare_windows, distance, stability_index
from tinsmith.runtime.monitor.reference import Histogram, Reference, Statistic
from tinsmith.runtime.monitor.watching import DriftWatch

COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=20)


class TestDistributions:
    @pytest.mark.parametrize("degrees", [1, 2, 3, 9, 10, 63])
    def test_chi_square_is_scipys(self, degrees):
        special = pytest.importorskip("scipy.special")

        for value in (0.0, 0.3, 5.0, 40.0, 300.0):
            assert chi_square_tail(value, degrees) == pytest.approx(
                special.chdtrc(degrees, value), rel=1e-9, abs=1e-300
            )
        for tail in (0.5, 0.01, 1e-6):
            assert chi_square_limit(tail, degrees) == pytest.approx(special.chdtri(degrees, tail), rel=1e-8)

    def test_the_binomial_is_scipys(self):
        special = pytest.importorskip("scipy.special")

        for least, trials, chance in ((1, 3, 0.2), (3, 10, 0.01), (600, 1024, 0.5), (1024, 1024, 0.1)):
            assert binomial_tail(least, trials, chance) == pytest.approx(special.bdtrc(least - 1, trials, chance))

    @pytest.mark.parametrize("tail", [0.2, 0.01, 1e-5])
    def test_kolmogorovs_limit_errs_to_the_safe_side_and_hardly(self, tail):
        special = pytest.importorskip("scipy.special")

        limit, exact = kolmogorov_limit(tail), special.kolmogi(tail)
        assert exact <= limit <= exact * 1.01


def false_alarms(test, shares, *, n, m, tail, rounds=3000):
    """How often two draws of the same bins are told apart."""
    rng = np.random.default_rng(7)
    ones, others = (rng.multinomial(size, shares, rounds).tolist() for size in (n, m))
    return sum(
        figure > threshold
        for figure, threshold in (test(one, other, tail=tail) for one, other in zip(ones, others, strict=True))
    )


EVEN = [0.1] * 10
# half in one bin, and bins so rare that most windows have none of them
UNEVEN = [0.5, 0.3, 0.1, 0.05, 0.02, 0.01, 0.01, 0.005, 0.004, 0.001]


class TestOneTest:
    @pytest.mark.parametrize("shares", [EVEN, UNEVEN], ids=["even", "uneven"])
    @pytest.mark.parametrize(("n", "m"), [(5000, 500), (300, 2000), (100, 100)])
    def test_the_stability_index_keeps_its_rate(self, shares, n, m):
        # 150 are expected of an exact test; four standard deviations above would be 198
        assert 30 <= false_alarms(stability_index, shares, n=n, m=m, tail=0.05) <= 190

    @pytest.mark.parametrize("shares", [EVEN, UNEVEN], ids=["even", "uneven"])
    def test_the_distance_keeps_its_rate(self, shares):
        assert false_alarms(distance, shares, n=5000, m=500, tail=0.05) <= 160

    @given(COUNTS.filter(sum))
    def test_like_is_like(self, counts):
        assert stability_index(counts, counts, tail=0.01)[0] == 0
        assert distance(counts, counts, tail=0.01)[0] == 0

    @given(COUNTS.filter(sum), st.data())
    def test_neither_side_is_the_first(self, counts, data):
        other = data.draw(st.lists(st.integers(0, 500), min_size=len(counts), max_size=len(counts)).filter(sum))

        for test in (stability_index, distance):
            assert test(counts, other, tail=0.01) == pytest.approx(test(other, counts, tail=0.01))

    def test_the_index_is_the_textbooks_for_large_counts(self):
        one, other = [3e7, 5e7, 2e7], [2e7, 5e7, 3e7]
        expected = sum((p - q) * np.log(p / q) for p, q in zip((0.3, 0.5, 0.2), (0.2, 0.5, 0.3), strict=True))

        assert stability_index(one, other, tail=0.01)[0] == pytest.approx(expected, rel=1e-5)


def draw(rng, samples, *, shift=0.0):
    """Pictures whose brightness differs from sample to sample, and scores of 5 classes."""
    pictures = rng.normal(shift, 1, (samples, 1)) + rng.normal(0, 0.3, (samples, 24))
    scores = rng.dirichlet(np.ones(5), samples)
    return {"x": pictures.reshape(samples, 2, 12).astype(np.float32)}, {"y": scores.astype(np.float32)}


def watched(reference, feeds, outputs, *, false_alarm=0.01):
    watch = DriftWatch(reference, window=10**6, false_alarm=false_alarm)
    watch.saw(feeds, outputs)
    return watch.report()


class TestWholeReport:
    def test_it_keeps_its_rate_over_all_statistics_together(self):
        rng = np.random.default_rng(3)
        alarms = 0
        for _ in range(8):
            reference = build_reference([draw(rng, 3000)])
            alarms += sum(watched(reference, *draw(rng, 300), false_alarm=0.1).state == "drift" for _ in range(25))

        # of 200 windows, 20 may be called drifted; three standard deviations more would be 33
        assert alarms <= 28

    def test_half_a_standard_deviation_is_found_in_500_samples(self):
        rng = np.random.default_rng(4)
        reference = build_reference([draw(rng, 2000)])

        reports = [watched(reference, *draw(rng, 500, shift=0.5)) for _ in range(40)]

        assert [report.state for report in reports] == ["drift"] * 40
        assert Statistic("inputs", "x", "mean") in {found.statistic for found in reports[0].drifted}
        assert not any(found.statistic.side == "outputs" for report in reports for found in report.drifted)

    def test_answers_that_change_are_found(self):
        rng = np.random.default_rng(5)
        feeds, outputs = draw(rng, 1000)
        reference = build_reference([(feeds, outputs)])
        biased = outputs["y"].copy()
        biased[:250, 2] = 2.0

        report = watched(reference, feeds, {"y": biased})

        assert (Statistic("outputs", "y", "class"), "psi") in {(f.statistic, f.test) for f in report.drifted}
        assert not any(found.statistic.name == "class" and found.test == "ks" for found in report.comparisons)

    def test_what_was_constant_and_moves_is_found(self):
        ones = {"x": np.ones((400, 3, 3), np.float32)}
        reference = build_reference([(ones, {})])
        report = watched(reference, {"x": np.full((400, 3, 3), 1.01, np.float32)}, {})

        assert watched(reference, ones, {}).state == "ok"
        assert {found.statistic.name for found in report.drifted} == {"mean", "min", "max"}

    @pytest.mark.parametrize(("seen", "window"), [(49, 500), (500, 49)])
    def test_few_samples_say_nothing(self, seen, window):
        rng = np.random.default_rng(6)
        report = watched(build_reference([draw(rng, seen)]), *draw(rng, window, shift=9))

        assert report.state == "waiting"
        assert not report.comparisons

    def test_a_window_lacks_what_was_not_measured(self):
        histogram = Histogram(edges=(0.0,), counts=(500, 500))
        reference = Reference(samples=1000, inputs={"x": {"value": histogram}, "z": {"value": histogram}}, outputs={})

        report = compare_windows(reference, {Statistic("inputs", "x", "value"): [50, 450]}, samples=500)

        assert {found.statistic.tensor for found in report.comparisons} == {"x"}
        assert json.loads(json.dumps(report.comparisons[0].to_json(), allow_nan=False))["drifted"] is True
