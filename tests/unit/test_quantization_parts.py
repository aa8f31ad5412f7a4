import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinsmith.convert.quantization import SCHEME_NAMES, choose_quantizer, scheme_named
from tinsmith.convert.quantization.conv_weights import round_by_channel
from tinsmith.runtime.errors import RecipeError


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
