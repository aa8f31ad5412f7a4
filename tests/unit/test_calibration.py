import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinsmith.convert.calibration import (
    METHOD_NAMES,
    Calibration,
    Entropy,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
    Range,
    load_calibration,
    method_named,
    save_calibration,
)
from tinsmith.convert.calibration.feeding import Portion, Portions
from tinsmith.convert.calibration.histogram import LEAST_EXPONENT, MOST_BINS, Histogram
from tinsmith.convert.calibration.observer import Observer
from tinsmith.convert.calibration.statistics import HALF_MOMENTUM
from tinsmith.convert.calibration.thresholds import divergence, squared_errors
from tinsmith.runtime.errors import DataError, ModelError, OutputError, RecipeError
from tinsmith.runtime.tensors import TensorSpec

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
RUNS = st.lists(hnp.arrays(np.float32, st.integers(1, 6), elements=FLOATS), min_size=1, max_size=6)
SHA = "a" * 64
FREE = TensorSpec(name="x", dtype="float32", shape=(None,))


def histogram(values):
    values = np.asarray(values, np.float32)
    return Histogram.of(values, float(values.min()), float(values.max()))


def facts(found):
    return found.exponent, found.lowest, found.counts.tolist()


def calibration(samples, *, sha256=SHA, detail="histograms", names=("t",)):
    """Of tensors that are all equal to the samples, one row each."""
    observer = Observer(detail)
    portions = Portions([{"x": np.asarray(samples, np.float32)}], [FREE])
    for portion in portions:
        for name in names:
            observer.observe(name, portion.feeds["x"], portion)
    return Calibration(model_sha256=sha256, samples=portions.samples, tensors=observer.seen(names))


def one(values, method):
    """The range of a single tensor that held these values in one sample."""
    return calibration(np.asarray(values, np.float32)[None]).ranges(method)["t"]


class TestHistogram:
    @given(RUNS)
    def test_neither_order_nor_pieces_change_a_count(self, runs):
        whole = histogram(np.concatenate(runs))
        forth, back = histogram(runs[0]), histogram(runs[-1])
        for run in runs[1:]:
            forth = forth.merge(histogram(run))
        for run in runs[-2::-1]:
            back = histogram(run).merge(back)

        assert facts(forth) == facts(back) == facts(whole)

    @given(hnp.arrays(np.float32, st.integers(1, 20), elements=FLOATS))
    def test_each_value_is_within_its_bin(self, values):
        found = histogram(values)

        numbers = np.trunc(values.astype(np.float64) / found.width).astype(int)
        expected = np.bincount(numbers - found.lowest, minlength=len(found.counts))
        assert found.counts.tolist() == expected.tolist()
        assert len(found.counts) <= MOST_BINS

    @given(hnp.arrays(np.float32, st.integers(1, 20), elements=FLOATS))
    def test_the_bins_are_as_fine_as_they_can_be(self, values):
        found = histogram(values)
        finer = [math.trunc(math.ldexp(float(end), 1 - found.exponent)) for end in (values.min(), values.max())]

        assert found.exponent == LEAST_EXPONENT or max(finer[1], 0) - min(finer[0], 0) + 1 > MOST_BINS

    def test_magnitudes_hold_both_signs(self):
        found = histogram([-2, -1, -1, 0, 1, 2.5])

        counted = found.magnitudes
        assert counted.sum() == 6
        assert counted[round(1 / found.width)] == 3
        assert counted[0] == 1

    def test_centers_lie_within_their_bins(self):
        found = histogram([-1, 3])

        at = found.centers[found.counts > 0]
        assert np.abs(at - [-1, 3]).max() <= found.width / 2


class TestObserver:
    def test_memory_does_not_grow_with_samples(self):
        found = calibration(np.random.default_rng(0).normal(size=(64, 50))).tensors["t"].whole

        assert found.histogram.counts.sum() == 64 * 50
        assert len(found.histogram.counts) <= MOST_BINS

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("detail", ["extremes", "histograms"])
    def test_a_tensor_without_numbers_has_no_range(self, value, detail):
        with pytest.raises(ModelError, match="'t' becomes NaN or infinite"):
            calibration([[0, value]], detail=detail)

    def test_a_tensor_that_is_never_reached_is_named(self):
        observer = Observer("histograms")
        portion = Portion(feeds={}, samples=1, length=1, odd=False)
        observer.observe("empty", np.zeros((1, 0), np.float32), portion)

        with pytest.raises(ModelError, match="'empty' is never reached"):
            observer.seen(["empty"])

    def test_samples_that_only_fill_a_portion_up_do_not_count(self):
        observer = Observer("histograms")
        portion = Portion(feeds={}, samples=2, length=4, odd=False)
        observer.observe("t", np.array([[1.0], [2.0], [9.0], [9.0]], np.float32), portion)

        whole = observer.seen(["t"])["t"].whole
        assert whole.extremes == Range(low=1, high=2)
        assert whole.histogram.counts.sum() == 2

    @pytest.mark.parametrize(("values", "said"), [([0.0, 0.0], True), ([0.0, 0.5], False)])
    def test_an_input_of_zeros_is_warned_of(self, caplog, values, said):
        observer = Observer("extremes")
        observer.observe("x", np.array([values], np.float32), Portion(feeds={}, samples=1, length=1, odd=False))

        observer.seen(["x"], inputs=["x"])

        assert ("input x is 0 in every calibration sample" in caplog.text) == said


class TestMerging:
    @settings(max_examples=25)
    @given(hnp.arrays(np.float32, (8, 3), elements=FLOATS), st.integers(1, 7), st.permutations(range(8)))
    def test_neither_order_nor_split_changes_ranges_of_extremes_and_histograms(self, samples, cut, order):
        whole = calibration(samples)
        first, later = calibration(samples[order][:cut]), calibration(samples[order][cut:])

        for method in (MinMax(), Percentile(percentile=80), Entropy(), MeanSquaredError()):
            expected = whole.ranges(method)
            assert first.merge(later).ranges(method) == later.merge(first).ranges(method) == expected
        assert first.merge(later).samples == 8

    @given(hnp.arrays(np.float32, (8, 3), elements=st.floats(-9, 9, width=32)), st.sampled_from([2, 4, 6]))
    def test_moving_averages_merge_as_if_the_later_samples_had_come_later(self, samples, cut):
        merged = calibration(samples[:cut]).merge(calibration(samples[cut:])).ranges(MovingAverage())["t"]

        whole = calibration(samples).ranges(MovingAverage())["t"]
        assert (merged.low, merged.high) == pytest.approx((whole.low, whole.high), abs=1e-9)

    def test_a_calibration_of_another_model_is_refused(self):
        with pytest.raises(DataError, match="another model") as caught:
            calibration([[1, 2]]).merge(calibration([[1, 2]], sha256="b" * 64))

        assert "tinsmith calibrate" in caught.value.hint

    def test_other_tensors_are_refused(self):
        with pytest.raises(DataError, match="watched different tensors"):
            calibration([[1, 2]]).merge(calibration([[1, 2]], names=("u",)))


class TestMethods:
    @pytest.mark.parametrize("name", METHOD_NAMES)
    def test_each_has_a_name(self, name):
        assert method_named(name).name == name

    def test_a_misspelt_one_is_refused_with_the_right_ones(self):
        with pytest.raises(RecipeError, match="no calibration method 'minmax'") as caught:
            method_named("minmax")

        assert "min-max, moving-average" in caught.value.hint

    @pytest.mark.parametrize("make", [lambda: Percentile(percentile=101), lambda: MeanSquaredError(bits=1)])
    def test_settings_without_sense_are_refused(self, make):
        with pytest.raises(RecipeError):
            make()

    @pytest.mark.parametrize("name", METHOD_NAMES)
    @given(samples=hnp.arrays(np.float32, (3, 4), elements=FLOATS))
    def test_no_range_is_wider_than_the_extremes(self, name, samples):
        found = calibration(samples).ranges(method_named(name))["t"]

        least, greatest = float(samples.min()), float(samples.max())
        slack = 1e-6 * max(abs(least), abs(greatest))
        assert least - slack <= found.low <= found.high <= greatest + slack

    @pytest.mark.parametrize("name", ["percentile", "entropy", "mse"])
    def test_histograms_that_were_not_kept_are_missed(self, name):
        with pytest.raises(DataError, match=f"{name} needs histograms"):
            calibration([[1, 2]], detail="extremes").ranges(method_named(name))

    @pytest.mark.parametrize("percentile", [90, 99, 99.9])
    @given(seed=st.integers(0, 99))
    def test_percentiles_are_those_of_numpy(self, percentile, seed):
        values = np.random.default_rng(seed).normal(1, 2, 5000).astype(np.float32)

        found = one(values, Percentile(percentile=percentile))

        # numpy interpolates between two values, and we within a bin: the values before and after, give or take a bin
        share, bin_width = (100 - percentile) / 200, histogram(values).width
        around = 2 / len(values)
        low = np.quantile(values, [max(share - around, 0), share + around])
        high = np.quantile(values, [1 - share - around, min(1 - share + around, 1)])
        assert low[0] - bin_width <= found.low <= low[1] + bin_width
        assert high[0] - bin_width <= found.high <= high[1] + bin_width

    def test_a_full_percentile_is_min_max(self):
        values = np.random.default_rng(0).normal(size=999)

        assert one(values, Percentile(percentile=100)) == one(values, MinMax())

    @given(st.lists(FLOATS.filter(lambda x: abs(x) < 1e6), min_size=1, max_size=30))
    def test_the_moving_average_is_the_one_that_is_written_down(self, samples):
        found = calibration(np.array(samples, np.float32)[:, None]).ranges(MovingAverage())["t"]

        weights = HALF_MOMENTUM ** ((len(samples) - 1 - np.arange(len(samples))) // 2)
        if len(samples) % 2:  # the even half has one sample more, and fades by itself
            weights = np.array([HALF_MOMENTUM ** ((len(samples) - at % 2 - 1 - at) // 2) for at in range(len(samples))])
        expected = float((weights * np.array(samples, np.float32)).sum() / weights.sum())
        assert (found.low, found.high) == pytest.approx((expected, expected), rel=1e-6, abs=1e-6)

    def test_outliers_do_not_widen_the_ranges_that_are_to_cut_them(self):
        values = np.append(np.random.default_rng(0).normal(size=100_000), 50)

        # a single one costs more clipped than the rest loses in 8 bits, but not in 4
        for method in (Percentile(), Entropy(), MeanSquaredError(bits=3)):
            assert 2 < one(values, method).high < 30

    def test_zeros_of_a_rectifier_do_not_narrow_the_range(self):
        values = np.maximum(np.random.default_rng(0).normal(size=50_000), 0)

        for method in (Entropy(), MeanSquaredError()):
            assert one(values, method).high > 0.8 * values.max()

    @pytest.mark.parametrize("name", METHOD_NAMES)
    @pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 1e-35, 3e38])
    def test_a_constant_is_its_own_range(self, name, value):
        found = one(np.full(5, value), method_named(name))

        assert (found.low, found.high) == pytest.approx((np.float32(value),) * 2)


class TestEntropy:
    @given(hnp.arrays(np.float64, 24, elements=st.integers(0, 9)), st.integers(4, 24))
    def test_the_divergence_is_what_its_definition_says(self, magnitudes, kept):
        magnitudes[0] += 1

        found = divergence(magnitudes, kept, 4)

        assert found == pytest.approx(_divergence_by_loops(magnitudes, kept, 4), abs=1e-9)

    def test_as_many_levels_as_bins_lose_nothing(self):
        assert divergence(np.array([4.0, 3, 2, 1]), 4, 4) == pytest.approx(0)


def _divergence_by_loops(magnitudes, kept, levels):
    """After Migacz's slides, number by number."""
    p = list(magnitudes[:kept])
    p[-1] += sum(magnitudes[kept:])
    q = [0.0] * kept
    for level in range(levels):
        bins = range(level * kept // levels, (level + 1) * kept // levels)
        filled = [at for at in bins if p[at] > 0]
        for at in filled:
            q[at] = sum(magnitudes[b] for b in bins) / len(filled)
    if not sum(q):
        return math.inf
    terms = [(a / sum(p), b / sum(q)) for a, b in zip(p, q, strict=True) if a > 0]
    return sum(a * math.log(a / max(b, 1e-12)) for a, b in terms)


class TestMeanSquaredError:
    @pytest.mark.parametrize("bits", [4, 8])
    @given(seed=st.integers(0, 99), rectified=st.booleans(), share=st.floats(0.3, 1))
    def test_errors_are_those_of_rounding_the_values_themselves(self, bits, seed, rectified, share):
        values = np.random.default_rng(seed).normal(0.5, 1, 20_000).astype(np.float32)
        values = np.maximum(values, 0) if rectified else values
        low, high = share * min(values.min(), 0), share * values.max()

        found = squared_errors(histogram(values), np.array([low]), np.array([high]), bits)[0]

        step = (high - low) / (2**bits - 1)
        rounded = np.clip(np.round(values / step) * step, low, high)
        assert found == pytest.approx(((values - rounded) ** 2).sum(), rel=0.1)

    def test_the_range_is_near_the_best_of_all(self):
        values = np.random.default_rng(0).laplace(size=50_000).astype(np.float32)
        found = one(values, MeanSquaredError(bits=4))

        def error(reach):
            step = 2 * reach / 15
            return ((values - np.clip(np.round(values / step) * step, -reach, reach)) ** 2).mean()

        best = min(error(reach) for reach in np.linspace(1, values.max(), 200))
        assert error((found.high - found.low) / 2) < 1.1 * best


class TestStability:
    def test_halves_that_agree_do_not_move(self):
        found = calibration(np.repeat(np.random.default_rng(0).normal(size=(3, 20)), 2, axis=0))

        assert found.stability(MinMax()).worst == ("t", 0.0)

    def test_a_rare_value_moves_the_range_of_the_half_that_has_it_not(self):
        stability = calibration([[0, 1], [0, 1], [0, 4], [0, 1]]).stability(MinMax())

        assert stability.movements == {"t": 0.75}
        assert str(stability) == "ranges moved by at most 75.0% (t) between 2 and 4 samples"

    def test_one_sample_has_no_halves(self):
        assert "one sample says nothing" in str(calibration([[0, 1]]).stability(MinMax()))

    def test_zeros_do_not_move(self):
        assert calibration(np.zeros((4, 2))).stability(MeanSquaredError()).movements == {"t": 0.0}


class TestSaving:
    @pytest.mark.parametrize("detail", ["extremes", "histograms"])
    @settings(max_examples=12)
    @given(samples=hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(3)), elements=FLOATS))
    def test_what_is_read_is_what_was_written(self, tmp_path_factory, detail, samples):
        path = tmp_path_factory.mktemp("saved") / "ranges.npz"
        made = calibration(samples, detail=detail, names=("t", "ü/β:0"))

        save_calibration(made, path)
        read = load_calibration(path)

        assert (read.model_sha256, read.samples) == (made.model_sha256, made.samples)
        for name in METHOD_NAMES[: 5 if detail == "histograms" else 2]:
            assert read.ranges(method_named(name)) == made.ranges(method_named(name))
            assert read.stability(method_named(name)) == made.stability(method_named(name))

    def test_the_same_again_gives_the_same_bytes(self, tmp_path):
        samples = np.random.default_rng(0).normal(size=(6, 9))
        for name in ("a.npz", "b.npz"):
            save_calibration(calibration(samples), tmp_path / name)

        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()

    def test_a_file_that_is_none_is_refused(self, tmp_path):
        for content in (b"", b"nonsense", b"PK\x03\x04"):
            (tmp_path / "x.npz").write_bytes(content)
            with pytest.raises(DataError, match=r"x\.npz is no calibration"):
                load_calibration(tmp_path / "x.npz")
        np.savez(tmp_path / "x.npz", x=np.zeros(3))
        with pytest.raises(DataError, match="no calibration"):
            load_calibration(tmp_path / "x.npz")
        with pytest.raises(DataError, match="cannot read"):
            load_calibration(tmp_path / "missing.npz")

    @settings(max_examples=50)
    @given(st.data())
    def test_damage_never_gets_through_as_anything_but_an_error(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("damaged") / "ranges.npz"
        save_calibration(calibration([[1, 2], [3, 4]]), path)
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)

        try:
            found = load_calibration(path)
        except DataError:
            return
        assert found.samples >= 1

    @pytest.mark.parametrize(
        ("array", "value"),
        [
            ("version", np.array(2)),
            ("samples", np.array(0)),
            ("extremes", np.full((1, 2, 2), np.nan)),
            ("extremes", np.array([[[1.0, 0.0], [1.0, 0.0]]])),
            ("averaged", np.zeros((1, 2), int)),
            ("grids", np.full((1, 2, 3), 5000)),
            ("counts", np.zeros(0, int)),
            ("names", np.zeros(0, "U1")),
        ],
    )
    def test_content_that_does_not_hold_together_is_refused(self, tmp_path, array, value):
        path = tmp_path / "ranges.npz"
        save_calibration(calibration([[1, 2], [3, 4]]), path)
        with np.load(path) as file:
            arrays = {**{name: file[name] for name in file.files}, array: value}
        np.savez(path, **arrays)

        with pytest.raises(DataError, match="no calibration, or is damaged"):
            load_calibration(path)

    def test_a_folder_that_is_not_there_is_said(self, tmp_path):
        with pytest.raises(OutputError):
            save_calibration(calibration([[1, 2]]), tmp_path / "no" / "x.npz")


class TestPortions:
    @given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), tensor_bytes=st.sampled_from([1, 20 << 20]))
    def test_a_free_batch_axis_sees_each_sample_once_and_in_its_half(self, sizes, tensor_bytes):
        x = np.arange(sum(sizes), dtype=np.float32)
        cut = [{"other": part} for part in np.split(x, np.cumsum(sizes)[:-1])]
        portions = Portions(cut, [TensorSpec(name="x", dtype="float32", shape=(None,))])

        seen = {True: [], False: []}
        for portion in portions:
            seen[portion.odd].extend(portion.feeds["x"].tolist())
            assert portion.samples == portion.length == len(portion.feeds["x"])
            portions.fit(portion, portion.length * tensor_bytes)
            assert portion.length <= (3 if tensor_bytes > 1 else 32)

        assert seen == {False: x[::2].tolist(), True: x[1::2].tolist()}
        assert portions.samples == len(x)

    @given(n=st.integers(1, 9), fixed=st.integers(1, 5))
    def test_a_fixed_batch_axis_is_filled_with_a_sample_of_the_same_portion(self, n, fixed):
        x = np.arange(n, dtype=np.float32)
        portioned = list(Portions([{"x": x}], [TensorSpec(name="x", dtype="float32", shape=(fixed,))]))

        assert {len(portion.feeds["x"]) for portion in portioned} == {fixed}
        assert sorted(v for p in portioned for v in p.feeds["x"][: p.samples]) == x.tolist()

    def test_another_number_of_inputs_is_refused(self):
        spec = TensorSpec(name="x", dtype="float32", shape=(None,))
        with pytest.raises(DataError, match="1 inputs"):
            list(Portions([{"a": np.zeros(1), "b": np.zeros(1)}], [spec]))

    def test_no_samples_are_refused(self):
        with pytest.raises(DataError, match="must see real samples"):
            list(Portions([], [TensorSpec(name="x", dtype="float32", shape=(None,))]))
