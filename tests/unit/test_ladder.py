"""The recovery ladder, on attempts that cost nothing: which recipes it tries, which it keeps, and where it stops."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.commands.recovery_view import recovery_view
from tinsmith.compress.recipe import load_recipe
from tinsmith.compress.recovery.ladder import Ladder, Limits, Rungs
from tinsmith.compress.recovery.rungs import ever_more, quantizes
from tinsmith.compress.recovery.trials import Trial, TrialLog
from tinsmith.runtime.errors import RecipeError

RUNGS = Rungs(trained=True, answers_stay=False, trainable=True)
UNTRAINED = Rungs(trained=True, answers_stay=False, trainable=False)
WORST = ("conv_3", "conv_1", "dense")


def features(recipe):
    """What a recipe has that another one could lack."""
    found = {step.kind for step in recipe.steps} - {"quantize"}
    for step in recipe.steps:
        if step.kind == "quantize":
            found |= {step.calibration} | set(step.keep.items())
            found |= {"corrected"} if step.correct_biases else set()
            found |= {step.rounding} - {"nearest"}
    return found


class Model:
    """A model that lacks a certain amount, of which each feature takes its share away."""

    def __init__(self, takes, lacking=1.0, refuses=()):
        self.takes, self.lacking, self.refuses = takes, lacking, refuses
        self.tried = []

    def __call__(self, recipe, name):
        found = features(recipe)
        self.tried.append(name)
        if found & set(self.refuses):
            raise RecipeError("it does not fit")
        lacking = max(0.0, self.lacking - sum(self.takes.get(feature, 0.0) for feature in found))
        return Trial(name=name, lacking=lacking)


def climb(model, rungs=RUNGS, limits=None, recipe="int8", worst=lambda _recipe: WORST, **settings):
    return Ladder(rungs, limits or Limits(), model, worst, **settings).climb(load_recipe(recipe))


def test_a_recipe_that_is_good_enough_is_taken_as_it_is():
    model = Model({}, lacking=0.0)

    climbed = climb(model)

    assert climbed.recipe == load_recipe("int8")
    assert (len(model.tried), climbed.best.met, climbed.ended) == (1, True, "")


def test_it_stops_at_the_first_rung_that_is_enough():
    model = Model({"percentile": 0.4, "equalize": 0.6, "corrected": 1.0})

    climbed = climb(model)

    assert climbed.best.name == "cross-layer equalization"
    assert [step.kind for step in climbed.recipe.steps] == ["equalize", "quantize"]
    assert climbed.recipe.steps[-1].calibration == "percentile"
    assert "bias correction" not in model.tried


def test_what_brings_nothing_does_not_stay():
    climbed = climb(Model({"corrected": 1.0, "percentile": -0.1, "equalize": 0.0}))

    assert features(climbed.recipe) == {"min-max", "corrected"}


def test_ranges_are_tried_again_on_other_weights():
    model = Model({"second-order": 0.4, "percentile": -0.1})
    climb(model)

    assert model.tried.count("percentile ranges") == model.tried.count("mse ranges") == 2
    assert model.tried.index("better rounding") < len(model.tried) - 1 - model.tried[::-1].index("percentile ranges")

    model = Model({})
    climb(model)
    assert model.tried.count("percentile ranges") == 1


def test_biases_are_corrected_again_when_operators_are_kept():
    class OnlyTogether(Model):
        def __call__(self, recipe, name):
            trial = super().__call__(recipe, name)
            found = features(recipe)
            kept, corrected = ("conv_3", "float32") in found, "corrected" in found
            return trial if kept and corrected else replace(trial, lacking=0.9 if corrected else 0.5 - 0.1 * kept)

    climbed = climb(OnlyTogether({("conv_3", "float32"): 0.6, "corrected": 0.4}))

    assert climbed.best.met
    assert (climbed.best.name, [t.name for t in climbed.trials].count("bias correction")) == ("bias correction", 2)


def test_16_bits_that_bring_nothing_are_not_tried_again():
    model = Model({("conv_1", "float32"): 0.2})
    climb(model)
    assert sum("int16x8" in name for name in model.tried) == 1

    model = Model({(name, "int16x8"): 0.2 for name in WORST})
    climb(model)
    assert sum("int16x8" in name for name in model.tried) == 3


def test_what_does_not_fit_is_noted_and_left_out():
    climbed = climb(Model({"corrected": 1.0}, refuses=("equalize",)))

    refused = next(trial for trial in climbed.trials if trial.name == "cross-layer equalization")
    assert (refused.lacking, refused.remark) == (None, "it does not fit")
    assert climbed.best.met


def test_a_recipe_that_can_not_be_carried_out_is_an_error():
    with pytest.raises(RecipeError, match="does not fit"):
        climb(Model({}, refuses=("min-max",)))


def test_the_worst_operators_are_kept_from_one_to_all():
    climbed = climb(Model({("conv_1", "float32"): 1.0}))

    assert climbed.best.name == "the 2 worst in float32"
    assert dict(climbed.recipe.steps[-1].keep) == {"conv_3": "float32", "conv_1": "float32"}


def test_batch_norm_is_left_alone_where_the_answers_must_stay_and_where_there_is_none():
    for rungs in (
        Rungs(trained=True, answers_stay=True, trainable=True),
        Rungs(trained=False, answers_stay=False, trainable=False),
    ):
        model = Model({})
        climb(model, rungs)
        assert "batch-norm recalibration" not in model.tried


def test_training_is_the_last_rung_and_only_where_there_is_something_to_learn_from():
    model = Model({"quantize-aware": 1.0})
    assert climb(model).best.name == model.tried[-1] == "quantization-aware training"

    model = Model({"quantize-aware": 1.0})
    climbed = climb(model, Rungs(trained=False, answers_stay=True, trainable=False))
    assert not climbed.best.met
    assert climbed.ended == "there is nothing else to try"


def test_trials_and_minutes_are_bounded():
    model = Model({})
    climbed = climb(model, limits=Limits(trials=3))
    assert len(model.tried) == len(climbed.trials) == 3
    assert (climbed.ended, climbed.limit) == ("3 recipes were tried, which is --max-trials", "max-trials")

    minutes = iter(range(0, 6000, 60))
    climbed = climb(Model({}), limits=Limits(minutes=2), clock=lambda: next(minutes))
    assert (climbed.ended, climbed.limit) == ("the 2 minutes of --max-minutes are over", "max-minutes")
    assert 1 <= len(climbed.trials) <= 2


@pytest.mark.parametrize(
    ("limits", "rungs", "said", "unsaid"),
    [
        (Limits(trials=3), RUNGS, "a larger --max-trials, which leaves room for training", "the trained model"),
        (Limits(trials=3), UNTRAINED, "a larger --max-trials, which leaves room for other ways, or", "for training"),
        (Limits(), UNTRAINED, "the trained model with labelled samples", "a larger"),
        (Limits(), RUNGS, "It would take a looser budget", "rained"),
    ],
)
def test_what_it_would_take_is_not_what_was_given(limits, rungs, said, unsaid):
    *_, last = recovery_view(climb(Model({}), rungs, limits))
    assert said in last
    assert unsaid not in last


@given(
    st.dictionaries(
        st.sampled_from(["bn-recalibrate", "percentile", "mse", "entropy", "equalize", "corrected", "quantize-aware"]),
        st.floats(-0.5, 0.9),
    )
)
def test_the_best_trial_is_chosen_and_its_recipe_gives_it_again(takes):
    model = Model(takes)

    climbed = climb(model)

    lacking = [trial.lacking for trial in climbed.trials]
    assert climbed.best.lacking == min(lacking)
    assert model(climbed.recipe, "again").lacking == climbed.best.lacking
    assert 0 not in lacking[:-1]


@given(st.lists(st.text(min_size=1), unique=True))
def test_ever_more_ends_with_all_and_never_goes_back(operators):
    found = list(ever_more(operators))

    assert not operators or list(found[-1]) == operators
    assert all(len(a) < len(b) for a, b in itertools.pairwise(found))


def test_only_static_quantization_has_a_ladder():
    assert quantizes(load_recipe("int8"))
    assert not quantizes(load_recipe("dynamic-int8"))


def test_trials_are_found_again_only_by_the_same_steps_and_judge(tmp_path):
    path = tmp_path / "trials.json"
    steps = [{"kind": "quantize"}]
    trial = Trial(name="first", lacking=0.1, score=0.5, agreement=0.9, size_bytes=7, seconds=1.0, remark="far")
    TrialLog(path, "a").keep(steps, trial)

    assert TrialLog(path, "a").find(steps, "second") == Trial(
        name="second", lacking=0.1, score=0.5, agreement=0.9, size_bytes=7, seconds=1.0, remark="far"
    )
    assert TrialLog(path, "b").find(steps, "second") is None
    assert TrialLog(path, "a").find([*steps, *steps], "second") is None
    path.write_text("{ torn")
    assert TrialLog(path, "a").find(steps, "second") is None
