"""What is measured of a sample, and how a reference counts it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinsmith.runtime.errors import DataError, ModelLoadError
from tinsmith.runtime.monitor.building import BINS, build_reference
from tinsmith.runtime.monitor.reference import Histogram, Reference, Statistic
from tinsmith.runtime.monitor.reservoir import Reservoir
from tinsmith.runtime.monitor.summary import MOST_ENTRIES, summarise

DTYPES = st.sampled_from(["float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool"])
SHAPES = st.sampled_from([(), (1,), (5,), (20,), (3, 4), (2, 3, 3)])


@st.composite
def tensors(draw, samples):
    dtype, shape = np.dtype(draw(DTYPES)), draw(SHAPES)
    return draw(hnp.arrays(dtype, (samples, *shape)))


def one(array, *, side="inputs"):
    feeds, outputs = ({"t": array}, {}) if side == "inputs" else ({}, {"t": array})
    return {statistic.name: values.tolist() for statistic, values in summarise(feeds, outputs)}


class TestSummary:
    @settings(max_examples=40)
    @given(st.data(), st.integers(2, 5))
    def test_a_sample_is_measured_alike_alone_and_in_a_batch(self, data, samples):
        feeds, outputs = {"x": data.draw(tensors(samples))}, {"y": data.draw(tensors(samples))}

        together = dict(summarise(feeds, outputs))
        for number in range(samples):
            part = slice(number, number + 1)
            alone = dict(summarise({"x": feeds["x"][part]}, {"y": outputs["y"][part]}))
            assert alone.keys() == together.keys()
            for statistic, values in alone.items():
                np.testing.assert_allclose(values[0], together[statistic][number], rtol=1e-5)

    def test_pictures(self):
        found = one(np.array([[[0, 2, 4], [0, 6, 6]]], np.uint8))

        assert {name: found[name] for name in ("mean", "min", "max")} == {"mean": [3], "min": [0], "max": [6]}
        assert found["zeros"] == [pytest.approx(1 / 3)]
        assert found["std"] == [pytest.approx(2.5166, abs=1e-4)]

    def test_a_large_picture_is_measured_on_a_few_of_all_its_channels_and_columns(self):
        image = np.zeros((1, 64, 64, 3), np.float32)
        image[..., 2] = 3

        found = one(image)

        assert image.size > 2 * MOST_ENTRIES
        assert found["mean"] == [pytest.approx(1, abs=0.01)]
        assert found["zeros"] == [pytest.approx(2 / 3, abs=0.01)]
        columns = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None], (1, 64, 64, 3))
        assert one(columns)["std"] == [pytest.approx(columns.std(), rel=0.02)]

    def test_tokens(self):
        rows = np.zeros((3, 20), np.int32)
        rows[0, :5] = [7, 8, 7, 9, 8]
        rows[1] = np.arange(1, 21)

        assert one(rows) == {"length": [5, 20, 0], "mean": [39 / 5, 10.5, 0], "distinct": [3 / 5, 1, 0]}

    def test_a_table_is_measured_column_by_column(self):
        assert one(np.array([[1.5, 2], [3, 4]])) == {"0": [1.5, 3], "1": [2, 4]}

    def test_text(self):
        assert one(np.array([["ab"], ["abcd"]], object)) == {"length": [2, 4]}
        assert one(np.array([[b"ab"], ["\u00e9"]], object)) == {"length": [2, 1]}

    @pytest.mark.parametrize(
        ("scores", "entropy"),
        [
            (np.array([[0.5, 0.5, 0, 0]], np.float32), np.log(2)),
            (np.array([[9, 9, -90, -90]], np.float32), np.log(2)),
            (np.array([[-1, -1, -128, -128]], np.int8), np.log(2)),
            (np.array([[0, 255, 0, 0]], np.uint8), 0),
        ],
    )
    def test_scores_are_shares_however_they_are_stored(self, scores, entropy):
        found = one(scores, side="outputs")

        assert found["entropy"] == [pytest.approx(entropy, abs=1e-6)]
        assert found["top"] == [scores.max()]
        assert found["class"] == [scores.argmax()]

    def test_a_model_without_a_batch_axis_has_one_sample(self):
        found = summarise({"sound": np.ones(16000, np.float32)}, {"scores": np.ones((1, 5), np.float32)})

        assert {len(values) for _, values in found} == {1}
        assert {statistic.name for statistic, _ in found} >= {"mean", "std", "class", "entropy"}

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_measured_in_silence(self, value):
        for side in ("inputs", "outputs"):
            array = np.ones((2, 20), np.float32)
            array[0, 3] = value

            assert all(np.isfinite(values[1]) for values in one(array, side=side).values())


def histogram_of(values, *, output=False):
    column = np.asarray(values)[:, None]
    found = build_reference([({}, {"t": column}) if output else ({"t": column}, {})])
    return dict(found.histograms())[Statistic("outputs" if output else "inputs", "t", "value")]


class TestBuilding:
    def test_bins_hold_a_like_share(self):
        counts = histogram_of(np.random.default_rng(0).lognormal(0, 3, 1000)).counts

        assert len(counts) == BINS
        assert min(counts) >= 99
        assert max(counts) <= 101

    def test_a_value_that_many_share_has_a_bin_of_its_own(self):
        found = histogram_of([0.0] * 600 + list(range(1, 401)))

        assert found.counts[:2] == (0, 600)
        assert found.edges[0] < 0 < found.edges[1] < 1

    def test_a_constant_has_a_bin_on_each_side(self):
        assert histogram_of([5.0] * 100).counts == (0, 100, 0)
        assert histogram_of([0.0] * 100).counts == (0, 100, 0)

    def test_few_classes_have_a_bin_each(self):
        scores = np.eye(4, dtype=np.float32)[[0] * 90 + [1] * 5 + [3] * 5]
        found = build_reference([({}, {"y": scores})]).outputs["y"]["class"]

        assert found == Histogram(edges=(0.5, 1.5, 2.5, 3.5), counts=(90, 5, 0, 5, 0))

    def test_many_classes_share_bins(self):
        scores = np.eye(200, dtype=np.float32)
        assert sum(build_reference([({}, {"y": scores})]).outputs["y"]["class"].counts) == 200
        assert len(build_reference([({}, {"y": scores})]).outputs["y"]["class"].counts) == BINS

    @given(st.lists(st.floats(width=32), min_size=1, max_size=60))
    def test_every_sample_is_counted_whatever_it_holds(self, values):
        found = histogram_of(np.asarray(values, np.float32))

        assert sum(found.counts) == len(values)
        assert list(found.edges) == sorted(set(found.edges))

    @settings(max_examples=20)
    @given(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    def test_batches_change_nothing(self, lengths):
        rows = np.random.default_rng(1).normal(size=(sum(lengths), 20)).astype(np.float32)
        pieces = np.split(rows, np.cumsum(lengths)[:-1])

        apart = build_reference(({"x": piece}, {"y": piece[:, :3]}) for piece in pieces)

        assert apart == build_reference([({"x": rows}, {"y": rows[:, :3]})])

    def test_a_long_stream_is_drawn_from_evenly_in_constant_room(self):
        stream = (({"t": np.full((100, 1), float(number))}, {}) for number in range(100))
        found = build_reference(stream, most_samples=500)

        assert found.samples == 500
        (histogram,) = (histogram for _, histogram in found.histograms())
        assert sum(histogram.counts) == 500
        assert 35 <= histogram.edges[4] <= 65

    def test_a_statistic_that_some_samples_lack_is_left_out(self):
        batches = [({"t": np.ones((2, length), np.int64)}, {}) for length in (30, 4)]

        assert build_reference(batches).inputs == {}

    def test_no_samples_are_refused(self):
        with pytest.raises(DataError, match="needs samples"):
            build_reference([])

    def test_it_is_small_and_comes_back_from_json(self):
        rng = np.random.default_rng(2)
        found = build_reference([({"x": rng.normal(size=(500, 9, 9))}, {"y": rng.normal(size=(500, 10))})])
        text = json.dumps(found.to_json(), allow_nan=False)

        assert Reference.from_json(json.loads(text)) == found
        assert len(text) < 4000

    @pytest.mark.parametrize(
        "damage",
        [
            {},
            {"samples": 1, "inputs": [], "outputs": {}},
            {"samples": 1, "inputs": {"x": {"mean": {"edges": [1], "counts": [1]}}}, "outputs": {}},
            {"samples": 1, "inputs": {"x": {"mean": {"edges": [2, 1], "counts": [1, 0, 0]}}}, "outputs": {}},
            {"samples": 1, "inputs": {"x": {"mean": {"edges": [1], "counts": [1, -1]}}}, "outputs": {}},
            {"samples": 1, "inputs": {"x": {"mean": {"edges": ["1e999"], "counts": [1, 1]}}}, "outputs": {}},
        ],
    )
    def test_a_damaged_one_is_refused(self, damage):
        with pytest.raises(ModelLoadError, match="drift reference"):
            Reference.from_json(damage)


@given(st.integers(1, 20), st.integers(0, 200))
def test_a_reservoir_fills_all_its_places_and_no_other(most, items):
    reservoir = Reservoir(most, seed=0)
    places = [place for _ in range(items) if (place := reservoir.offer()) is not None]

    assert places[:most] == list(range(min(most, items)))
    assert all(0 <= place < most for place in places)


def test_every_item_of_a_stream_has_the_same_chance():
    kept = np.zeros(20)
    for seed in range(2000):
        reservoir, held = Reservoir(5, seed=seed), {}
        for item in range(20):
            place = reservoir.offer()
            if place is not None:
                held[place] = item
        kept[list(held.values())] += 1

    # 500 are expected of each; five standard deviations are 97
    assert abs(kept - 500).max() < 97
