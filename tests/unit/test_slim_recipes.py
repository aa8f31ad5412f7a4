"""Slim after every recipe that comes with tinsmith: what its steps write answers the same bits, in fewer bytes.

Steps that train take a Keras model, and leave a float file like any to those after them; they are left out here. What
`quantize-aware` writes itself is slimmed where it is tested.
"""

import numpy as np
import pytest

from tinsmith.compress.passes.table import PASSES
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.planner import plan
from tinsmith.compress.recipe import builtin_recipes
from tinsmith.compress.running import Runner
from tinsmith.convert.data import open_dataset
from tinsmith.convert.delivery import Job, Workbench
from tinsmith.convert.predictors import opened_predictor
from tinsmith.convert.slimming import slim_file
from tinsmith.convert.slimming.proof import SEEDED_SAMPLES, prove_identical
from tinsmith.convert.slimming.reading import in_tensors, read_model

RECIPES = {builtin.name: builtin.recipe for builtin in builtin_recipes()}
LEFT_OUT = {"slim", *(kind.kind for kind in PASSES if issubclass(kind, TrainedPass))}
SAMPLES = 24


@pytest.fixture(scope="module", params=["matrices", "signs"])
def job(request, matrix_model, tmp_path_factory):
    """A float model with its samples: two matrices, one of whole blocks of 4 bits; or convolutions."""
    folder = tmp_path_factory.mktemp(request.param)
    golden = request.path.parents[1] / "golden"
    model = matrix_model(folder / "matrices.tflite") if request.param == "matrices" else golden / "signs.tflite"
    shape = (64,) if request.param == "matrices" else (16, 16, 3)
    np.savez(folder / "data.npz", x=np.random.default_rng(0).normal(100, 50, (SAMPLES, *shape)).astype(np.float32))
    return Job.of(model, folder / "out.tflite", data=folder / "data.npz")


@pytest.fixture(scope="module")
def dataset(job):
    with opened_predictor(job.source) as source:
        return open_dataset(job.data, source.inputs)


def written(name, job, dataset, folder):
    """What the steps of a recipe write, without slim."""
    recipe = RECIPES[name]
    recipe = recipe.model_copy(update={"steps": tuple(step for step in recipe.steps if step.kind not in LEFT_OUT)})
    runner = Runner(job, Workbench(folder=folder, dataset=dataset, seed=0), None)
    return runner.run(plan(job.source, recipe, "tflite"), looks=False).model.path


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_writes_answers_the_same_bits_when_it_is_slim(name, job, dataset, tmp_path):
    path, slim = written(name, job, dataset, tmp_path), tmp_path / "slim.tflite"
    slim.write_bytes(slim_file(path).content)

    assert slim.stat().st_size < path.stat().st_size
    assert prove_identical(path, slim, dataset=dataset, seed=0) == SEEDED_SAMPLES + SAMPLES


def test_scales_in_tensors_of_their_own_are_among_what_is_slimmed(job, dataset, tmp_path):
    model = read_model(written("int4-weights", job, dataset, tmp_path).read_bytes(), "blocks")
    blocks = [tensor for tensor in model.subgraphs[0].tensors if in_tensors(tensor)]

    assert len(blocks) == (job.source.path.stem == "matrices")
