"""Passes that are kept for other runs and other processes."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from tinsmith.compress.keeping import PassStore
from tinsmith.compress.passes.base import PassResult
from tinsmith.convert.model import Model

STEPS = [{"kind": "distill", "epochs": 3, "gives": "keras"}]
SOURCE = Model(path=Path("source.keras"), format="keras")


@pytest.fixture
def store(tmp_path):
    Path("source.keras").write_bytes(b"source")
    return PassStore(tmp_path / "passes", "run")


def made(content=b"trained", name="out.keras", stands_for=True):
    Path(name).write_bytes(content)
    model = Model(path=Path(name), format="keras")
    return PassResult(model=model, modified=True, measured={"loss": 0.5}, stands_for=model if stands_for else None)


def never():
    raise AssertionError("it was made again")


def folders(store):
    return sorted(path.name for path in store.shelf.parent.iterdir() if path.name != ".locks")


def test_what_was_made_is_not_made_again(store):
    first = store.result(STEPS, SOURCE, made)
    Path("out.keras").unlink()
    again = store.result(STEPS, SOURCE, never)
    assert again == first
    assert again.model == again.stands_for
    assert again.model.path.read_bytes() == b"trained"
    assert (again.modified, again.measured) == (True, {"loss": 0.5})


def test_another_process_finds_it(store, tmp_path):
    first = store.result(STEPS, SOURCE, made)
    assert PassStore(tmp_path / "passes", "run").result(STEPS, SOURCE, never) == first


@pytest.mark.parametrize(
    ("run", "steps"),
    [
        ("another run", STEPS),
        ("run", [{**STEPS[0], "epochs": 4}]),
        ("run", [{**STEPS[0], "gives": "onnx"}]),
        ("run", [{"kind": "bn-recalibrate"}, *STEPS]),
    ],
)
def test_anything_that_it_depends_on_makes_it_another(store, tmp_path, run, steps):
    store.result(STEPS, SOURCE, made)
    other = PassStore(tmp_path / "passes", run).result(steps, SOURCE, lambda: made(b"other"))
    assert other.model.path.read_bytes() == b"other"
    assert store.result(STEPS, SOURCE, never).model.path.read_bytes() == b"trained"


def test_what_changes_nothing_gives_what_went_in(store):
    result = PassResult(model=SOURCE, modified=False)
    assert store.result(STEPS, SOURCE, lambda: result).model == SOURCE
    elsewhere = Model(path=Path("elsewhere.keras"), format="keras")
    assert store.result(STEPS, elsewhere, never) == PassResult(model=elsewhere, modified=False)


def test_what_is_damaged_is_made_again(store):
    store.result(STEPS, SOURCE, made).model.path.write_bytes(b"rotten")
    assert store.result(STEPS, SOURCE, made).model.path.read_bytes() == b"trained"


def test_what_raises_leaves_nothing_and_holds_nobody_up(store):
    with pytest.raises(AssertionError):
        store.result(STEPS, SOURCE, never)
    assert folders(store) == [store.shelf.name]
    assert store.result(STEPS, SOURCE, made).modified


def test_a_checkpoint_is_kept_until_the_training_is_done(store):
    (store.checkpoints(STEPS) / "1-distill.npz").write_bytes(b"half")
    assert (store.checkpoints(STEPS) / "1-distill.npz").exists()
    assert store.checkpoints([{"kind": "clusters"}]) != store.checkpoints(STEPS)
    store.result(STEPS, SOURCE, made)
    assert list(store.checkpoints(STEPS).iterdir()) == []


def _killed_while_it_keeps(folder):
    """Dies when everything is written and nothing renamed yet."""
    from tinsmith.compress import keeping
    from tinsmith.runtime import files

    files._move = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    keeping.PassStore(folder, "run").result(STEPS, SOURCE, made)


def _counted(folder, barrier):
    barrier.wait()
    store = PassStore(folder, "run")
    name = f"{os.getpid()}.keras"

    def make():
        with Path("made").open("a") as stream:
            stream.write(json.dumps(os.getpid()) + "\n")
        return made(name=name)

    assert store.result(STEPS, SOURCE, make).model.path.read_bytes() == b"trained"


def test_killed_in_the_middle_it_is_made_anew(store, tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_killed_while_it_keeps, args=[tmp_path / "passes"])
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert store.result(STEPS, SOURCE, made).model.path.read_bytes() == b"trained"


def test_of_two_that_want_the_same_one_makes_it(store, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_counted, args=[tmp_path / "passes", barrier]) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(Path("made").read_text().splitlines()) == 1
