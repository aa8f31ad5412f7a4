import numpy as np
import pytest

from tinsmith.compress.passes.quantization import QuantizeStep
from tinsmith.convert.inspection import operator_precisions
from tinsmith.convert.quantization import Plan, WeightsInt4, WeightsInt8, choose_quantizer
from tinsmith.runtime.errors import RecipeError
from tinsmith.runtime.session import open_vetted


def answers(path):
    x = np.random.default_rng(5).normal(size=(6, 64)).astype(np.float32)
    with open_vetted(path, engine=None, threads=1, accelerator="cpu") as session:
        return session.run({session.inputs[0].name: x})[session.outputs[0].name]


@pytest.mark.parametrize(
    ("scheme", "off", "share", "words"),
    [
        (WeightsInt8(), 0.02, 0.5, {"weight-only-int8"}),
        # 64 is cut into blocks, which only the kernel that rounds activations has; 40 is not
        (WeightsInt4(), 0.2, 0.4, {"dynamic-int4", "weight-only-int4"}),
        (WeightsInt4(block_size=64), 0.2, 0.4, {"dynamic-int4", "weight-only-int4"}),
        (WeightsInt4(block_size=256), 0.2, 0.4, {"weight-only-int4"}),
    ],
)
def test_a_tflite_of_matrices_is_stored_in_fewer_bits_and_answers_alike(
    tmp_path, matrix_model, scheme, off, share, words
):
    source, made = matrix_model(tmp_path / "m.tflite"), tmp_path / "small.tflite"
    choose_quantizer("tflite").quantize(source, made, Plan(scheme=scheme))
    before, after = answers(source), answers(made)

    assert 0 < np.linalg.norm(after - before) < off * np.linalg.norm(before)
    assert made.stat().st_size < share * source.stat().st_size
    assert {use.precision for use in operator_precisions(made) if use.name == "FULLY_CONNECTED"} == words


def test_what_an_engine_does_not_have_is_said_before_any_work():
    with pytest.raises(RecipeError, match="no blocks of 16"):
        choose_quantizer("tflite").check(Plan(scheme=WeightsInt4(block_size=16)))
    for scheme in (WeightsInt4(), WeightsInt8()):
        with pytest.raises(RecipeError, match="TensorFlow's converter has no weights"):
            choose_quantizer("tflite", "tflite-converter").check(Plan(scheme=scheme))


def test_block_size_goes_with_blocks_of_four_bits():
    assert QuantizeStep(scheme="weights-int4", block_size=64).typed_scheme() == WeightsInt4(block_size=64)
    with pytest.raises(ValueError, match="block_size goes with"):
        QuantizeStep(scheme="int8", block_size=64)
