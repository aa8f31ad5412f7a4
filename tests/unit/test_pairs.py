"""Two artifacts timed in turn; here by children that say how long they took."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.pairs import time_pair
from tinsmith.runtime.sandbox import Sandbox
from tinsmith.runtime.tensors import TensorSpec

SPEC = TensorSpec(name="x", dtype="float32", shape=(None, 2))


class Clockwork:
    """Answers with a time that a shared machine stretches, question by question."""

    def __init__(self, name, run_ns, asked, weather):
        self._name, self._run_ns, self._asked, self._weather = name, run_ns, asked, weather

    @property
    def opened(self):
        return SimpleNamespace(inputs=(SPEC,))

    def time(self, feeds, *, runs):
        self._asked.append(self._name)
        return [int(self._run_ns * self._weather())] * runs, 0


@given(st.integers(10**5, 10**9), st.floats(0.1, 10))
def test_the_ratio_is_found_and_each_goes_first_in_turn(one_ns, factor):
    asked = []
    pair = [Clockwork(name, ns, asked, lambda: 1) for name, ns in (("a", one_ns), ("b", round(one_ns * factor)))]
    found = time_pair(*pair)
    assert found.ratio == pytest.approx(factor, rel=1e-3)
    assert (found.low, found.high) == (found.ratio, found.ratio)
    rounds = "".join(asked)
    looks = [name * (1 if ns >= 250e6 else 2) for name, ns in (("a", one_ns), ("b", round(one_ns * factor)))]
    assert rounds.startswith("".join(looks) + "abbaab")  # the looks tell how many runs a round has
    assert all(1 <= runs <= 50 for runs in found.runs)


def test_a_machine_that_slows_down_for_both_leaves_the_ratio():
    asked, pace = [], iter(range(1, 1000))
    storm = {at: 1 + at // 2 for at in range(1000)}
    pair = [Clockwork(name, ns, asked, lambda: storm[next(pace)]) for name, ns in (("a", 2e6), ("b", 1e6))]
    found = time_pair(*pair)
    assert found.low <= 0.5 <= found.high


def test_real_children_time_real_files(golden):
    with Sandbox() as one, Sandbox() as other:
        for sandbox in (one, other):
            sandbox.open(golden / "cnn.tflite")
        found = time_pair(one, other)
    assert found.one_ms > 0
    assert found.low <= found.ratio <= found.high
