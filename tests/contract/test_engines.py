"""What every engine must do, held against each one that is installed here, and against a fake.

The model is y = W x + b with 4 inputs and 3 outputs (golden/dense.*), so a wrong answer can be told by hand.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tinsmith.runtime.engine_tables import order
from tinsmith.runtime.engines import ENGINES, choose_engine, open_engine
from tinsmith.runtime.errors import AcceleratorError, ModelError, ModelLoadError, UsageError
from tinsmith.runtime.placement import Placement
from tinsmith.runtime.session import Session
from tinsmith.runtime.tensors import TensorSpec

MODULES = {"litert": "ai_edge_litert", "onnxruntime": "onnxruntime", "tflite-runtime": "tflite_runtime"}
GOLDEN = Path(__file__).parents[1] / "golden"


class FakeEngine:
    """A linear function without any file: the engine that session tests use."""

    name = "fake"
    version = "0"
    accelerator = "cpu"
    inputs = (TensorSpec(name="x", dtype="float32", shape=(None, 4)),)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(None, 3)),)
    refusals = ()

    def __init__(self):
        self._weights = np.arange(12, dtype=np.float32).reshape(4, 3) / 7

    def run(self, feeds):
        if feeds[0].shape[1:] != (4,):
            raise ModelError("fake: wrong shape")
        return [feeds[0] @ self._weights]

    def placement(self):
        return Placement.counted([("cpu", "MatMul")], self.refusals)

    def close(self):
        self._weights = None


def usable(name):
    if importlib.util.find_spec(MODULES[name]) is None:
        return False
    return name != "tflite-runtime" or np.__version__.startswith("1.")


def opener(name):
    if name == "fake":
        return FakeEngine
    choice = next(c for c in ENGINES if c.name == name)
    return lambda: open_engine(GOLDEN / f"dense.{choice.formats[0]}", choice)


@pytest.fixture(
    params=[
        "fake",
        *(
            pytest.param(
                choice.name,
                id=choice.name.replace("-", "_"),
                marks=pytest.mark.skipif(
                    not usable(choice.name), reason=f"{choice.package} is not usable in this environment"
                ),
            )
            for choice in ENGINES
        ),
    ]
)
def engine(request):
    opened = opener(request.param)()
    yield opened
    opened.close()


def test_names_its_tensors_and_leaves_the_batch_axis_free(engine):
    assert [(s.name, s.dtype, s.shape) for s in engine.inputs] == [("x", "float32", (None, 4))]
    assert [(s.name, s.dtype, s.shape) for s in engine.outputs] == [("y", "float32", (None, 3))]


def test_is_linear_as_its_model_is(engine):
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 1, 4)).astype(np.float32)
    zero = engine.run([np.zeros((1, 4), np.float32)])[0]

    together = engine.run([a + b])[0] - zero

    apart = engine.run([a])[0] + engine.run([b])[0] - 2 * zero
    np.testing.assert_allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_answers_each_row_of_a_batch_as_it_does_alone(engine, batch):
    rows = np.random.default_rng(1).random((batch, 4)).astype(np.float32)

    together = engine.run([rows])[0]

    alone = np.concatenate([engine.run([row[None]])[0] for row in rows])
    assert together.shape == (batch, 3)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_gives_outputs_that_later_runs_do_not_touch(engine):
    first = engine.run([np.ones((1, 4), np.float32)])[0]
    kept = first.copy()

    engine.run([np.full((1, 4), 5, np.float32)])

    np.testing.assert_array_equal(first, kept)


def test_refuses_a_wrong_shape_with_an_error_of_ours_and_goes_on(engine):
    with pytest.raises(ModelError):
        engine.run([np.ones((1, 5), np.float32)])

    assert engine.run([np.ones((1, 4), np.float32)])[0].shape == (1, 3)


def test_runs_inside_a_session(engine):
    answer = Session(engine).run({"x": np.ones((2, 4), np.float64)})

    assert answer["y"].shape == (2, 3)
    assert answer["y"].dtype == np.float32


def test_tells_where_each_operator_runs_before_and_after_a_new_shape(engine):
    engine.run([np.ones((1, 4), np.float32)])
    before = engine.placement()
    engine.run([np.ones((5, 4), np.float32)])

    assert engine.placement() == before
    assert set(before.units) <= {"cpu", "xnnpack"}
    if engine.name != "onnxruntime" or order(engine.version) >= (1, 24):
        # one layer: the engines call it FULLY_CONNECTED, Gemm, or MatMul and Add
        assert 1 <= sum(before.counts.values()) <= 2
    assert str(before).startswith(tuple(before.units))
    assert before.refusals == ()
    assert Placement.from_json(json.loads(json.dumps(before.to_json()))) == before


@pytest.mark.parametrize("name", ["litert", "onnxruntime"])
def test_refuses_a_file_that_is_no_model(name, tmp_path):
    choice = next(c for c in ENGINES if c.name == name)
    path = tmp_path / f"text.{choice.formats[0]}"
    path.write_text("this is no model")

    with pytest.raises(ModelLoadError, match="text"):
        open_engine(path, choice)


@pytest.mark.parametrize(("name", "accelerator"), [("litert", "edgetpu"), ("litert", "magic"), ("onnxruntime", "cuda")])
def test_an_accelerator_that_is_not_here_is_an_error_and_never_silence(name, accelerator):
    choice = next(c for c in ENGINES if c.name == name)

    with pytest.raises(AcceleratorError) as caught:
        open_engine(GOLDEN / f"dense.{choice.formats[0]}", choice, accelerator=accelerator)

    assert accelerator in caught.value.message
    assert "cpu" in caught.value.hint


def test_a_fallback_that_is_named_is_taken_and_said():
    engine = open_engine(GOLDEN / "dense.tflite", choose_engine("tflite"), accelerator="edgetpu,cpu")

    assert engine.accelerator == "cpu"
    (refusal,) = engine.placement().refusals
    assert "edgetpu" in refusal


def test_the_engine_follows_the_format_and_a_wrong_one_is_refused():
    assert choose_engine("tflite").name == "litert"
    assert choose_engine("onnx").name == "onnxruntime"
    with pytest.raises(UsageError, match="does not run onnx"):
        choose_engine("onnx", "litert")
    with pytest.raises(UsageError, match="no engine 'tflight'"):
        choose_engine("tflite", "tflight")
