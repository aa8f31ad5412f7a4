"""How zeros are shared out among layers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.passes.magnitude import MagnitudeStep
from tinsmith.compress.training.density import erdos_renyi_kernel

LENGTHS = st.lists(st.integers(1, 64), min_size=2, max_size=4)
NETS = st.lists(LENGTHS, min_size=1, max_size=8).map(lambda shapes: {f"layer{at}": s for at, s in enumerate(shapes)})


@given(NETS, st.floats(0.01, 0.99))
def test_the_layers_together_have_the_sparsity_that_was_asked(shapes, sparsity):
    found = erdos_renyi_kernel(shapes, sparsity)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    assert found.keys() == shapes.keys()
    assert all(0 <= share < 1 for share in found.values())
    zeros = sum(found[name] * sizes[name] for name in shapes)
    assert zeros == pytest.approx(sparsity * sum(sizes.values()), rel=1e-9)


def test_large_kernels_spare_more_and_small_ones_stay_dense():
    found = erdos_renyi_kernel({"first": (3, 3, 3, 16), "middle": (3, 3, 64, 64), "head": (64, 10)}, 0.7)
    assert found["first"] == found["head"] == 0
    assert found["middle"] > 0.7


def test_alike_layers_are_alike():
    found = erdos_renyi_kernel({"one": (3, 3, 8, 8), "other": (3, 3, 8, 8)}, 0.6)
    assert found == pytest.approx({"one": 0.6, "other": 0.6})


@pytest.mark.parametrize("also", [{"pattern": (2, 4)}, {"block": (2, 2)}])
def test_an_allocation_goes_with_neither_pattern_nor_block(also):
    with pytest.raises(ValueError, match="neither pattern nor block"):
        MagnitudeStep(allocation="erk", **also)
