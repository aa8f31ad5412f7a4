"""Recipes are read with the place of every mistake, and planned in an order that works."""

import re
from pathlib import Path

import pytest

from tinsmith.compress.bench import Bench
from tinsmith.compress.passes.base import Pass, PassDefectError, PassResult
from tinsmith.compress.planner import plan, target_of
from tinsmith.compress.recipe import Recipe, builtin_recipes, load_recipe, recipe_schema, recipe_text
from tinsmith.convert.model import Model
from tinsmith.convert.parity import FLOAT32
from tinsmith.runtime.errors import RecipeError

KERAS = Model(path=Path("m.keras"), format="keras")
TFLITE = Model(path=Path("m.tflite"), format="tflite")
ONNX = Model(path=Path("m.onnx"), format="onnx")


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def kinds(planned):
    return [(p.work.kind, p.takes, p.gives, p.inserted) for p in planned]


def test_the_first_recipes_are_built_in_and_say_what_they_need():
    recipes = {r.name: r for r in builtin_recipes()}

    needs = {name: str(r.recipe.needs) for name, r in recipes.items()}
    assert (
        needs.items()
        >= {
            "bn-int8": "data",
            "dynamic-int8": "-",
            "float16": "-",
            "float32": "-",
            "half-int8": "data, training",
            "int16x8": "data",
            "int4-weights": "-",
            "int8": "data",
            "int8-slim": "data",
            "int8-weights": "-",
            "qat-int8": "data, training",
            "slim": "-",
            "sparse-int8": "data, training",
        }.items()
    )
    assert all(r.summary.endswith(".") for r in recipes.values())


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        (["magnitude", "distill"], "step 2 (distill) would undo the zeros that step 1 (magnitude) made"),
        (["magnitude", "channels"], "step 2 (channels) would undo the zeros"),
        (["quantize", "quantize"], "step 2 (quantize) would undo the integers"),
        (["clusters", "magnitude"], "step 2 (magnitude) would undo the shared values that step 1 (clusters) made"),
        (["quantize", "channels"], "step 2 (channels) takes hdf5 or keras, but step 1 (quantize) gives tflite"),
    ],
)
def test_an_order_that_makes_no_sense_says_why(steps, match):
    more = {"channels": {"macs": 0.5}, "quantize": {"scheme": "int8"}}
    recipe = Recipe.model_validate({"version": 1, "steps": [{"kind": kind, **more.get(kind, {})} for kind in steps]})
    with pytest.raises(RecipeError, match=re.escape(match)) as caught:
        plan(KERAS, recipe, "tflite")
    assert caught.value.hint


@pytest.mark.parametrize("name", [r.name for r in builtin_recipes()])
def test_what_show_prints_can_be_loaded_again(name, tmp_path):
    assert load_recipe(write(tmp_path, recipe_text(name))) == load_recipe(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nsteps:\n  - kind: quantize\n    scheme: in8\n", r"mine\.yaml:4: steps\.0\.scheme"),
        ("version: 1\nsteps:\n  - kind: quantise\n", r"mine\.yaml:3: steps\.0.*quantise"),
        ("version: 1\nsteps:\n  - kind: quantize\n    scheme: int8\n    sceme: x\n", r"mine\.yaml:5: steps\.0\.sceme"),
        ("version: 1\ntarget: tflight\nsteps: []\n", r"mine\.yaml:2: target"),
        ("version: 2\nsteps: []\n", r"mine\.yaml:1: version"),
        ("version: 1\n", r"mine\.yaml:1: steps: Field required"),
        ("version: 1\nsteps:\n  - scheme: int8\n", r"mine\.yaml:3: steps\.0"),
        ("version: 1\nsteps:\n  - kind: convert\n    batch: 0\n", r"mine\.yaml:4: steps\.0\.batch"),
        ("version: 1\nsteps: [\n", r"mine\.yaml:\d+: not YAML"),
        ("version: 1\nversion: 1\nsteps: []\n", r"mine\.yaml:\d+: not YAML.*duplicate"),
        ("- just a list\n", r"mine\.yaml:1: a recipe is a mapping"),
        ("", r"a recipe is a mapping"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_and_line(tmp_path, text, said):
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe(write(tmp_path, text))

    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message


def test_a_misspelt_name_gets_the_nearest_one():
    with pytest.raises(RecipeError, match="no recipe 'dynamic_int8'") as caught:
        load_recipe("dynamic_int8")

    assert "did you mean dynamic-int8?" in caught.value.hint


def test_a_missing_file_and_a_binary_one_are_errors(tmp_path):
    with pytest.raises(RecipeError, match=r"no recipe file none\.yaml"):
        load_recipe("none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"binary\.yaml"):
        load_recipe(str(tmp_path / "binary.yaml"))


def test_set_changes_one_value_and_is_checked_like_the_file():
    assert load_recipe("int8", overrides=["steps.0.io=int8"]).steps[0].io == "int8"
    for override, said in [
        ("steps.0.io=int9", "steps.0.io"),
        ("steps.0.oi=int8", "steps.0.oi"),
        ("steps.7.io=int8", "has no steps.7.io"),
        ("steps.0.io", "no ="),
        ("steps.-1.io=int8", "has no steps.-1.io"),
        ("steps.0.io=[1", "is no YAML value"),
        ("steps.0.io=!!python/object:os.system", "is no YAML value"),
    ]:
        with pytest.raises(RecipeError, match=said):
            load_recipe("int8", overrides=[override])


def test_the_schema_names_every_kind_of_step():
    text = str(recipe_schema())

    assert "ConvertStep" in text
    assert "QuantizeStep" in text


def test_the_target_is_the_recipes_or_the_outputs_and_they_must_agree():
    free, bound = Recipe(version=1, steps=()), Recipe(version=1, target="onnx", steps=())

    assert target_of(free, Path("a.tflite")) == "tflite"
    assert target_of(bound, Path("a.onnx")) == "onnx"
    with pytest.raises(RecipeError, match=r"makes onnx, but the output is named a\.tflite"):
        target_of(bound, Path("a.tflite"))
    with pytest.raises(RecipeError, match="names no artifact"):
        target_of(free, Path("a.bin"))


def test_the_conversion_is_put_in_once_before_the_first_step_that_needs_it():
    assert kinds(plan(KERAS, load_recipe("int8"), "tflite")) == [
        ("convert", "keras", "tflite", True),
        ("quantize", "tflite", "tflite", False),
    ]
    assert kinds(plan(KERAS, load_recipe("float32"), "onnx")) == [("convert", "keras", "onnx", True)]
    assert kinds(plan(TFLITE, load_recipe("float16"), "tflite")) == [("quantize", "tflite", "tflite", False)]
    assert kinds(plan(TFLITE, load_recipe("float32"), "tflite")) == []
    assert kinds(plan(ONNX, load_recipe("int8"), "onnx")) == [("quantize", "onnx", "onnx", False)]


def test_a_conversion_in_the_recipe_is_not_put_in_again():
    recipe = Recipe.model_validate(
        {"version": 1, "steps": [{"kind": "convert", "batch": 1}, {"kind": "quantize", "scheme": "float16"}]}
    )

    assert [p.inserted for p in plan(KERAS, recipe, "tflite")] == [False, False]


def test_the_second_engine_starts_from_the_trained_model():
    recipe = load_recipe("int8", overrides=["steps.0.engine=tflite-converter"])

    assert kinds(plan(KERAS, recipe, "tflite")) == [("quantize", "keras", "tflite", False)]
    with pytest.raises(RecipeError, match=r"step 1 \(quantize\) takes .* but the model gives onnx"):
        plan(ONNX, recipe, "tflite")


class Careless(Pass):
    """A pass that can be told to break what it declares."""

    kind = "careless"
    takes = frozenset(["tflite"])
    gives = None
    tolerance = FLOAT32

    def __init__(self, result):
        self._result = result

    def run(self, model, bench):
        return self._result


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (PassResult(model=ONNX, modified=True), "declares that it gives tflite, and gave onnx"),
        (PassResult(model=TFLITE, modified=True), "modified=True"),
        (PassResult(model=Model(path=Path("b.tflite"), format="tflite"), modified=False), "modified=False"),
    ],
)
def test_a_pass_is_held_to_what_it_declares(tmp_path, result, said):
    bench = Bench(folder=tmp_path, dataset=None, seed=0)

    with pytest.raises(PassDefectError, match=said):
        Careless(result).apply(TFLITE, bench)


def test_a_pass_that_has_nothing_to_do_gives_its_model_back(tmp_path):
    bench = Bench(folder=tmp_path, dataset=None, seed=0)

    assert not Careless(PassResult(model=TFLITE, modified=False)).apply(TFLITE, bench).modified
