"""Budgets: what may be lost, and whether it was."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.balance import judged_on
from tinsmith.compress.budget import Budget, Verdict, share_of
from tinsmith.compress.compression import compress
from tinsmith.compress.passes.base import Needs
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.recovery import Recovery
from tinsmith.convert.data import Roles, open_dataset
from tinsmith.convert.evaluation import ClassScore, Evaluation
from tinsmith.convert.metrics import metric_named
from tinsmith.convert.slice_scores import SliceScore
from tinsmith.runtime.errors import DataError, UsageError

RANGES = Needs(data=True)


def judged(right, *, metric="accuracy", score=None, slices=None):
    """An evaluation with so many right of 100 in each class, and in each slice."""
    chosen = metric_named(metric)
    scores = [
        SliceScore(
            column="camera", name=name, samples=100, score=score, standard_error=None,
            correct=round(100 * score) if chosen.in_points else None,
        )
        for name, score in (slices or {}).items()
    ]  # fmt: skip
    return Evaluation(
        data="d", samples=100 * max(1, len(right)), metric=chosen,
        score=sum(right) / (100 * len(right)) if score is None else score, standard_error=None,
        correct=sum(right) if right else None, answers=(),
        classes=tuple(ClassScore(number=n, name=f"c{n}", samples=100, correct=c) for n, c in enumerate(right)),
        slices=tuple(scores),
    )  # fmt: skip


class TestShares:
    @given(st.fractions(0, 100, max_denominator=1000), st.sampled_from(["%", "pt", " pts", " points", " %"]))
    def test_units_are_the_same_points(self, points, unit):
        text = f"{float(points):.6f}"
        assert share_of(text + unit) == pytest.approx(float(points / 100), abs=1e-7)
        assert share_of(f" {float(Fraction(points, 100)):.9f} ") == pytest.approx(float(points / 100), abs=1e-7)

    @pytest.mark.parametrize("text", ["", "half", "1e400", "nan", "0.5%%", "%", "0,5%", "0.5 px", "--1"])
    def test_anything_else_is_refused_with_an_example(self, text):
        with pytest.raises(UsageError, match="is no share") as caught:
            share_of(text)
        assert "0.5%" in caught.value.hint

    @pytest.mark.parametrize(("text", "said"), [("-1%", "outside 0 to 1"), ("101%", "outside"), ("2", "2 points are")])
    def test_what_lies_outside_is_refused(self, text, said):
        with pytest.raises(UsageError, match=said):
            share_of(text)

    def test_a_bound_in_code_is_held_to_the_same(self):
        with pytest.raises(UsageError, match="max_drop is 5"):
            Budget(max_drop=5)


class TestVerdicts:
    def test_a_loss_of_just_the_bound_is_kept(self):
        before, after = judged([863, 0]), judged([858, 0])
        assert not Budget(max_drop=0.025).misses(before, after, None)
        assert Budget(max_drop=0.0249).misses(before, after, None)

    def test_the_worst_class_or_slice_is_named(self):
        before = judged([90, 80, 70], slices={"night": 0.8, "day": 0.8})
        after = judged([90, 70, 66], slices={"night": 0.5, "day": 0.81})
        (miss,) = Budget(max_class_drop=0.05).misses(before, after, None)

        assert (miss.of, round(miss.reached, 3), miss.others) == ("slice camera=night", 0.3, 1)
        assert (
            miss.text
            == "slice camera=night loses 30.00 points, 5.00 are allowed; one more class or slice loses too much"
        )
        (miss,) = Budget(max_class_drop=0.05).misses(judged([90, 80]), judged([90, 70]), None)
        assert (miss.of, miss.others) == ("class c1", 0)

    def test_a_class_may_lose_while_the_whole_gains(self):
        before, after = judged([50, 90]), judged([80, 85])
        assert not Budget(max_drop=0.0).misses(before, after, None)
        assert [v.bound for v in Budget(max_drop=0.0, max_class_drop=0.01).misses(before, after, None)] == [
            "max-class-drop"
        ]

    @pytest.mark.parametrize(("agreement", "missed"), [(0.95, False), (0.9499, True), (1.0, False)])
    def test_agreement_needs_no_labels(self, agreement, missed):
        assert bool(Budget(min_agreement=0.95).misses(None, None, agreement)) == missed

    @pytest.mark.parametrize("budget", [Budget(max_drop=0.01), Budget(max_class_drop=0.01), Budget(min_agreement=0.9)])
    def test_a_bound_that_nothing_can_judge_is_an_error_of_data(self, budget):
        with pytest.raises(DataError) as caught:
            budget.misses(None, None, None)
        assert "--min-agreement works without labels" in caught.value.hint

    def test_errors_in_a_unit_of_their_own_count_as_a_share_of_the_sources(self):
        before, after = judged([], metric="mae", score=2.0), judged([], metric="mae", score=2.1)
        (verdict,) = Budget(max_drop=0.04).verdicts(before, after, None)

        assert (round(verdict.reached, 6), verdict.missed, verdict.relative) == (0.05, True, True)
        assert verdict.text == "mae loses 5.00 % of the source's, 4.00 are allowed"
        assert not Budget(max_drop=0.06).misses(before, after, None)
        assert not Budget(max_drop=0.0).misses(after, before, None)

    def test_a_perfect_error_that_was_lost_is_beyond_any_bound(self):
        before, after = judged([], metric="mae", score=0.0), judged([], metric="mae", score=0.1)
        (miss,) = Budget(max_drop=1.0).misses(before, after, None)

        assert miss.reached == math.inf
        json.dumps(miss.to_json(), allow_nan=False)
        assert not Budget(max_drop=0.0).misses(before, before, None)

    @given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=8), st.integers(0, 100))
    def test_a_budget_is_missed_where_any_class_loses_more(self, pairs, bound):
        before, after = judged([a for a, _ in pairs]), judged([b for _, b in pairs])
        missed = bool(Budget(max_class_drop=bound / 100).misses(before, after, None))
        assert missed == any(a - b > bound for a, b in pairs)

    @given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
    def test_a_looser_budget_is_never_harder_to_keep(self, was, now, one, other):
        before, after = judged([was]), judged([now])
        tight, loose = (Budget(max_drop=bound / 100) for bound in sorted((one, other)))
        assert not loose.misses(before, after, None) or tight.misses(before, after, None)

    def test_nothing_is_bounded_unless_it_is_said(self):
        assert Budget().verdicts(None, None, None) == ()
        assert not Verdict(bound="max-drop", allowed=0.0, reached=-0.1, of="accuracy").missed


class TestJudgedOn:
    def test_the_test_split_reports_where_there_is_none_for_validation(self, tmp_path):
        (tmp_path / "d.csv").write_text(
            "x,label,split\n" + "".join(f'"[{n}]",{n % 2},{"test" if n % 3 else "calibration"}\n' for n in range(30))
        )
        roles = Roles(open_dataset(tmp_path / "d.csv", None), seed=0)

        assert judged_on(roles, RANGES).positions.tolist() == [n for n in range(30) if n % 3]
        assert not set(judged_on(roles, RANGES).positions) & set(roles.calibration.positions)

    def test_unlabelled_samples_are_drawn_as_well(self, tmp_path):
        np.savez(tmp_path / "d.npz", x=np.zeros((3000, 1), np.float32))
        roles = Roles(open_dataset(tmp_path / "d.npz", None), seed=0)

        assert len(judged_on(roles, RANGES)) == 2000


class TestCompress:
    @pytest.fixture
    def unlabelled(self, tmp_path):
        np.savez(tmp_path / "u.npz", x=np.random.default_rng(0).random((40, 8, 8, 1), np.float32))
        return tmp_path / "u.npz"

    def test_agreement_is_measured_without_labels(self, golden, unlabelled, tmp_path):
        arguments = golden / "cnn.tflite", load_recipe("int8"), tmp_path / "x.tflite"
        made = compress(*arguments, data=unlabelled, recovery=Recovery(budget=Budget(min_agreement=0.9)))

        (verdict,) = made.verdicts
        assert (verdict.missed, made.misses) == (False, ())
        assert verdict.reached >= 0.9
        assert made.to_json()["budget"][0]["bound"] == "min-agreement"

    def test_a_drop_without_labels_is_refused_before_any_work(self, golden, unlabelled, tmp_path):
        arguments = golden / "cnn.tflite", load_recipe("int8"), tmp_path / "x.tflite"
        for data in (unlabelled, None):
            with pytest.raises(DataError, match="no samples with labels"):
                compress(*arguments, data=data, recovery=Recovery(budget=Budget(max_class_drop=0.01)))
        assert not list(tmp_path.glob("x.tflite*"))
