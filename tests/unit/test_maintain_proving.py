"""What lets a new artifact go to devices, with real artifacts of one layer."""

import numpy as np
import pytest

from tinsmith.compress.compression import compress
from tinsmith.compress.maintain.plan import load_plan
from tinsmith.compress.maintain.proving import Proof
from tinsmith.compress.recipe import load_recipe
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.session import open_vetted

PLAN = """\
version: 1
model: model.tflite
recipe: int8
data: data.npz
devices: [one]
monitors: {one: "http://one"}
budget: {max_drop: 3%, min_agreement: 90%}
bundle: {current: app.tin}
work: work
"""


def rows(count, *, around=0.0, seed=0):
    return around + np.random.default_rng(seed).standard_normal((count, 4), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """A model, and int8 artifacts that were calibrated on its samples, on those of devices too, and on nonsense too."""
    folder = tmp_path_factory.mktemp("proving")
    (folder / "model.tflite").write_bytes((request.path.parents[1] / "golden" / "dense.tflite").read_bytes())
    with open_vetted(folder / "model.tflite", engine=None, accelerator="cpu", threads=1) as session:
        labels = session.run({"x": rows(100)})["y"].argmax(axis=1)
    np.savez(folder / "data.npz", x=rows(100), y=labels)
    np.savez(folder / "unlabelled.npz", x=rows(100))
    np.savez(folder / "seen.npz", x=rows(40, around=3, seed=1))
    np.savez(folder / "held.npz", x=rows(10, around=3, seed=2))
    np.savez(folder / "nonsense.npz", x=np.full((1, 4), 1e6, np.float32))
    (folder / "plan.yaml").write_text(PLAN)
    for name, captured in (("served", []), ("new", ["seen.npz"]), ("spoilt", ["seen.npz", "nonsense.npz"])):
        (folder / f"{name}.yaml").write_text(f"source: data.npz\ncaptured: {captured}\n")
        compress(folder / "model.tflite", load_recipe("int8"), folder / f"{name}.tflite", data=folder / f"{name}.yaml")
    return folder


def proven(folder, new, *, slow_alone=False, held=("held.npz",), data="data.npz"):
    proof = Proof(
        load_plan(folder / "plan.yaml"), load_recipe("int8"), data=folder / data, held=[folder / name for name in held]
    )
    return proof.of(folder / f"{new}.tflite", folder / "served.tflite", slow_alone=slow_alone)


def test_what_saturates_is_mended_and_the_figures_say_so(folder):
    found = proven(folder, "new")

    assert found.missed == ()
    assert [said.split(":")[0] for said in found.kept] == ["max-drop", "min-agreement"]
    assert (found.samples, found.captured, found.metric) == (100, 10, "accuracy")
    assert found.score_model == 1
    assert min(found.score_served, found.score_new) > 0.9
    assert found.error_new < found.error_served / 5
    assert found.agreement_new >= 0.9
    assert "no labels" in found.remarks[0]


def test_samples_that_spoil_the_model_miss_the_budget(folder):
    found = proven(folder, "spoilt")

    assert any(said.startswith("max-drop") for said in found.missed)
    assert any("captured samples" in said for said in found.missed)


def test_what_mends_nothing_is_not_deployed(folder):
    (why,) = proven(folder, "served").missed
    assert "mends nothing" in why
    assert "train" in why


def test_without_samples_held_apart_labels_alone_decide(folder):
    found = proven(folder, "served", held=())
    assert (found.missed, found.captured, found.error_new, found.agreement_new) == ((), 0, None, None)


def test_slow_devices_get_what_is_faster_or_nothing(folder):
    (why,) = proven(folder, "served", slow_alone=True).missed
    assert "the same operators" in why


def test_without_labels_nothing_can_be_held(folder):
    with pytest.raises(DataError):
        proven(folder, "new", data="unlabelled.npz")
