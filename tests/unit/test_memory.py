"""Memory of activations: lives of tensors, told from the order of operators."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.convert.inspection import sizes_of
from tinsmith.convert.inspection.graph import Graph, Operator, Tensor
from tinsmith.convert.inspection.memory import activation_bytes

ELEMENTS = st.integers(1, 1000)


def tensor(elements, dtype="float32", stored=None):
    return Tensor(name="t", dtype=dtype, shape=(None, elements), stored=stored)


def operator(inputs, outputs, name="ADD"):
    return Operator(name=name, version=1, inputs=tuple(inputs), outputs=tuple(outputs))


def graph(operators, inputs, outputs):
    return Graph(
        format="tflite", operators=tuple(operators), constants=(), inputs=tuple(inputs), outputs=tuple(outputs)
    )


@given(st.lists(ELEMENTS, min_size=2, max_size=8))
def test_a_chain_needs_its_largest_neighbours_at_once(sizes):
    tensors = [tensor(n) for n in sizes]
    steps = [operator([one], [other]) for one, other in pairwise(tensors)]
    found = activation_bytes(graph(steps, tensors[:1], tensors[-1:]))
    assert found == 4 * max(one + other for one, other in pairwise(sizes))


@given(ELEMENTS, ELEMENTS, ELEMENTS)
def test_a_residual_lives_until_it_is_added(wide, inner, narrow):
    source, one, two, result = tensor(wide), tensor(inner), tensor(wide), tensor(narrow)
    steps = [operator([source], [one]), operator([one], [two]), operator([source, two], [result])]
    found = activation_bytes(graph(steps, [source], [result]))
    assert found == 4 * max(wide + inner + wide, wide + wide + narrow)


def test_what_follows_from_stored_numbers_is_no_activation():
    weights = tensor(500, "int8", np.zeros((1, 500), np.int8))
    wide, source, result = tensor(500), tensor(10), tensor(20)
    steps = [operator([weights], [wide], "DEQUANTIZE"), operator([source, wide], [result])]
    assert activation_bytes(graph(steps, [source], [result])) == 4 * 30


def test_an_input_lives_from_the_beginning_to_its_last_reader():
    source, other, one, result = tensor(100), tensor(7), tensor(10), tensor(20)
    steps = [operator([other], [one]), operator([source, one], [result])]
    # the graph may name its inputs anew, and then they are other objects
    assert activation_bytes(graph(steps, [tensor(100), tensor(7)], [result])) == 4 * max(100 + 7 + 10, 100 + 10 + 20)


def test_numbers_between_their_integers_take_what_the_integers_take():
    stored, real, sum_, rounded = tensor(10, "int8"), tensor(10), tensor(20), tensor(20, "int8")
    steps = [
        operator([stored], [real], "DequantizeLinear"),
        operator([real], [sum_]),
        operator([sum_], [rounded], "QuantizeLinear"),
    ]
    assert activation_bytes(graph(steps, [stored], [rounded])) == max(10 + 10, 10 + 20, 20 + 20)


@pytest.mark.parametrize("unknown", [Tensor(name="t", dtype="float32", shape=(), ranked=False), tensor(3, "str")])
def test_an_unknown_shape_or_type_gives_no_estimate(unknown):
    source = tensor(4)
    assert activation_bytes(graph([operator([source], [unknown])], [source], [unknown])) is None


@pytest.mark.parametrize(("recipe", "share"), [("int8", 0.25), ("float16", 1), ("dynamic-int8", 1)])
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_schemes_move_it_as_they_say(golden, tmp_path, recipe, share, target):
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((20, 8, 8, 1), np.float32))
    source = golden / f"cnn.{target}"
    compress(source, load_recipe(recipe), tmp_path / f"x.{target}", data=tmp_path / "d.npz")
    before, after = sizes_of(source).activation_bytes, sizes_of(tmp_path / f"x.{target}").activation_bytes
    # a float input is kept beside its integers, and this model is small
    assert after / before == pytest.approx(share, abs=0.3)
