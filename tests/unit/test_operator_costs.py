"""What single operators cost in a precision, measured on a real artifact; recipes that keep some apart."""

import numpy as np
import pytest

from tinsmith.compress.compression import compress
from tinsmith.compress.passes.quantization import Quantize, QuantizeStep
from tinsmith.compress.planner import plan
from tinsmith.compress.recipe import Recipe
from tinsmith.compress.recovery import operators_by_cost
from tinsmith.compress.recovery.rungs import alone_in, with_kept
from tinsmith.compress.running import Runner
from tinsmith.convert.data import open_dataset
from tinsmith.convert.delivery import Job, Workbench
from tinsmith.convert.inspection import operator_precisions
from tinsmith.runtime.errors import RecipeError
from tinsmith.runtime.tensors import TensorSpec

SPECS = (TensorSpec(name="x", dtype="float32", shape=(None, 64)),)


def recipe_of(**settings):
    quantize = {"kind": "quantize", "scheme": "int8", **settings}
    return Recipe.model_validate({"version": 1, "target": "tflite", "steps": [quantize, {"kind": "slim"}]})


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32))
    return path


@pytest.fixture
def source(tmp_path, matrix_model):
    return matrix_model(tmp_path / "matrices.tflite")


@pytest.fixture
def runner(source, tmp_path, samples):
    """Of two matrices, with calibration samples at hand."""
    job = Job.of(source, tmp_path / "small.tflite", data=samples)
    (tmp_path / "work").mkdir()
    bench = Workbench(folder=tmp_path / "work", dataset=open_dataset(samples, SPECS), seed=0)
    return Runner(job, bench, None, watcher=None, metric=None)


def test_what_is_said_to_be_saved_is_saved(runner):
    recipe, dataset = recipe_of(rounding="second-order"), open_dataset(runner.job.data, SPECS)
    costs = operators_by_cost(runner, recipe, "tflite", dataset)
    before = runner.run(plan(runner.job.source, recipe, "tflite"), looks=False).model.path

    assert {cost.name for cost in costs} == {"h", "y"}
    assert all(cost.error > 0 for cost in costs)
    for cost in costs:
        planned = plan(runner.job.source, with_kept(recipe, [cost.name], "int8x4"), "tflite")
        after = runner.run(planned, looks=False).model.path
        assert before.stat().st_size - after.stat().st_size == cost.saved_bytes > 0


def test_the_cheapest_byte_comes_first_and_what_saves_nothing_not_at_all(runner):
    dataset = open_dataset(runner.job.data, SPECS)
    costs = operators_by_cost(runner, recipe_of(), "tflite", dataset)
    prices = [cost.error / cost.saved_bytes for cost in costs]

    assert prices == sorted(prices)
    assert operators_by_cost(runner, recipe_of(), "tflite", dataset, precision="float32") == ()


@pytest.mark.parametrize("rounding", ["nearest", "second-order"])
@pytest.mark.parametrize("correct_biases", [False, True])
def test_a_recipe_with_4_bits_is_carried_out_and_proven(source, tmp_path, samples, rounding, correct_biases):
    recipe = recipe_of(rounding=rounding, correct_biases=correct_biases, keep={"h": "int8x4"})
    compress(source, recipe, tmp_path / "small.tflite", data=samples)

    found = [use.precision for use in operator_precisions(tmp_path / "small.tflite") if use.name == "FULLY_CONNECTED"]
    assert sorted(found) == ["int4", "int8"]


def test_all_that_can_be_in_4_bits_is_and_what_is_kept_stays(source, tmp_path, samples):
    sizes = []
    for keep in ({}, {"y": "float32"}):
        recipe = recipe_of(weights="int4", rounding="second-order", keep=keep)
        compress(source, recipe, tmp_path / "small.tflite", data=samples)
        uses = [use for use in operator_precisions(tmp_path / "small.tflite") if use.name == "FULLY_CONNECTED"]
        assert {use.precision: use.count for use in uses} == ({"int4": 1, "float32": 1} if keep else {"int4": 2})
        sizes.append((tmp_path / "small.tflite").stat().st_size)

    assert sizes[0] < sizes[1]


def test_4_bits_everywhere_go_with_int8_and_tflite():
    with pytest.raises(ValueError, match="weights: int4 goes with scheme: int8"):
        QuantizeStep(scheme="int16x8", weights="int4")
    with pytest.raises(RecipeError, match="no weights in 4 bits"):
        Quantize(QuantizeStep(scheme="int8", weights="int4"), target="onnx")


def test_other_operators_keep_the_precision_that_they_have():
    recipe = recipe_of(keep={"a": "int8x4", "b": "float32"})

    assert with_kept(recipe, ["b", "c"], "int16x8").steps[0].keep == {"a": "int8x4", "b": "int16x8", "c": "int16x8"}
    assert with_kept(recipe, ["a"], "int8x4") == recipe


def test_an_operator_alone_has_its_own_precision():
    recipe = recipe_of(keep={"a": "int8x4", "b": "int16x8"})

    assert alone_in(recipe, "a", ["a", "b", "c"]).steps[0].keep == {"a": "int8x4", "b": "float32", "c": "float32"}
    assert alone_in(recipe, "c", ["a", "b", "c"]).steps[0].keep == {"a": "float32", "b": "float32"}
