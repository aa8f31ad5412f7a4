import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinsmith.convert.calibration.feeding import portions
from tinsmith.convert.calibration.ranges import MinMaxObserver, Range
from tinsmith.convert.quantization import SCHEME_NAMES, choose_quantizer, scheme_named
from tinsmith.convert.quantization.conv_weights import round_by_channel
from tinsmith.runtime.errors import DataError, ModelError, RecipeError
from tinsmith.runtime.tensors import TensorSpec


class TestSchemes:
    @pytest.mark.parametrize("name", SCHEME_NAMES)
    def test_each_has_a_name(self, name):
        assert scheme_named(name).name == name

    def test_a_misspelt_one_is_refused_with_the_right_ones(self):
        with pytest.raises(RecipeError, match="no scheme 'int7'") as caught:
            scheme_named("int7")

        assert "dynamic-int8" in caught.value.hint


class TestChoice:
    def test_each_target_has_a_default(self):
        assert choose_quantizer("tflite").name == "ai-edge-quantizer"
        assert choose_quantizer("onnx").name == "onnxruntime"

    def test_another_can_be_named(self):
        assert choose_quantizer("tflite", "tflite-converter").takes == "savedmodel"

    def test_one_that_does_not_give_the_target_is_refused(self):
        with pytest.raises(RecipeError, match="no quantizer 'onnxruntime' gives tflite") as caught:
            choose_quantizer("tflite", "onnxruntime")

        assert "ai-edge-quantizer, tflite-converter" in caught.value.hint

    def test_nothing_quantizes_to_keras(self):
        with pytest.raises(RecipeError, match="nothing quantizes to keras"):
            choose_quantizer("keras")


class TestRanges:
    @given(st.lists(hnp.arrays(np.float32, st.integers(1, 5), elements=st.floats(-9, 9, width=32)), min_size=1))
    def test_neither_order_nor_portions_matter(self, runs):
        forth, back, whole = MinMaxObserver(), MinMaxObserver(), MinMaxObserver()
        for values in runs:
            forth.observe("t", values)
        for values in reversed(runs):
            back.observe("t", values)
        whole.observe("t", np.concatenate(runs))

        assert forth.ranges() == back.ranges() == whole.ranges()

    def test_a_range_holds_both_that_it_was_merged_from(self):
        assert Range(low=-1, high=2).merge(Range(low=0, high=3)) == Range(low=-1, high=3)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_tensor_without_numbers_has_no_range(self, value):
        with pytest.raises(ModelError, match="'t' becomes NaN or infinite"):
            MinMaxObserver().observe("t", np.array([0, value], np.float32))

    def test_nothing_observed_is_no_range(self):
        with pytest.raises(DataError, match="must see real samples"):
            MinMaxObserver().ranges()


class TestPortions:
    @given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), at_most=st.integers(1, 5))
    def test_a_free_batch_axis_sees_each_sample_once(self, sizes, at_most):
        x = np.arange(sum(sizes), dtype=np.float32)
        cut = [{"other": part} for part in np.split(x, np.cumsum(sizes)[:-1])]
        spec = TensorSpec(name="x", dtype="float32", shape=(None,))

        portioned = [feeds["x"] for feeds in portions(cut, [spec], at_most=at_most)]

        assert np.array_equal(np.concatenate(portioned), x)
        assert max(map(len, portioned)) <= at_most

    @given(n=st.integers(1, 9), fixed=st.integers(1, 5))
    def test_a_fixed_batch_axis_is_filled_with_a_sample_of_the_same_portion(self, n, fixed):
        x = np.arange(n, dtype=np.float32)
        spec = TensorSpec(name="x", dtype="float32", shape=(fixed,))

        portioned = [feeds["x"] for feeds in portions([{"x": x}], [spec], at_most=32)]

        assert {len(portion) for portion in portioned} == {fixed}
        assert set(np.concatenate(portioned)) == set(x)

    def test_another_number_of_inputs_is_refused(self):
        spec = TensorSpec(name="x", dtype="float32", shape=(None,))
        with pytest.raises(DataError, match="1 inputs"):
            list(portions([{"a": np.zeros(1), "b": np.zeros(1)}], [spec], at_most=1))


class TestRounding:
    @given(
        hnp.arrays(
            np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), elements=st.floats(-9, 9, width=32)
        ),
        st.integers(0, 1),
    )
    def test_no_weight_moves_by_more_than_half_a_step_of_its_channel(self, weights, axis):
        rounded, scales = round_by_channel(weights, axis)

        steps = scales.reshape([-1 if n == axis else 1 for n in range(weights.ndim)])
        assert scales.shape == (weights.shape[axis],)
        assert (np.abs(rounded * steps - weights) <= steps * 0.5001 + 1e-7).all()
