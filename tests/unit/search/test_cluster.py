"""The same search on a cluster, whose workers die; and boards that workers have."""

from __future__ import annotations

import pytest

from tests.unit.search.conftest import Stopwatch, points
from tests.unit.search.on_workers import ArithmeticRoom
from tinsmith.compress.recipe import Recipe
from tinsmith.compress.search.bounds import Ask
from tinsmith.compress.search.cluster import DaskSpread
from tinsmith.compress.search.subject import Subject
from tinsmith.compress.search.trying import Job
from tinsmith.convert.cluster import Cluster
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.files import sha256_of


@pytest.fixture
def cluster(dask_cluster):
    with Cluster(dask_cluster.scheduler_address) as cluster:
        yield cluster


@pytest.fixture
def spread_over(cluster, golden, tmp_path):
    """A spread whose workers do what the lines say."""
    for name in ("notes", "artifacts", "here"):
        (tmp_path / name).mkdir()

    def spread(*said):
        (tmp_path / "here" / "samples.npz").write_text("\n".join([str(tmp_path / "notes"), *said]))
        subject = Subject(model=golden / "dense.tflite", data=str(tmp_path / "here" / "samples.npz"))
        return DaskSpread(cluster, subject, ArithmeticRoom, tmp_path / "artifacts")

    return spread


def jobs_of(*kinds):
    steps = [{"kind": kind, **({"scheme": "int8"} if kind == "quantize" else {})} for kind in kinds]
    recipes = [Recipe.model_validate({"version": 1, "target": "tflite", "steps": [step]}) for step in steps]
    return [Job(recipe=recipe, target="tflite") for recipe in recipes]


def by_content(artifact, device, threads):
    """What the arithmetic room writes last is what the arithmetic of this process calls its artifact."""
    key = artifact.read_bytes()[-64:].decode() if artifact.exists() else artifact.name
    return Stopwatch()(key, device, threads)


def test_a_worker_that_is_killed_in_the_middle_does_not_change_the_pareto_set(spread_over, searched, tmp_path):
    alone = searched(trials=24, measure=by_content)
    (tmp_path / "search.sqlite").unlink()

    spread = spread_over("die 3")
    found = searched(spread=spread, trials=24, measure=by_content)

    assert points(found, Ask()) == points(alone, Ask())
    assert (tmp_path / "notes" / "died").exists()
    assert len({note.name.split()[1] for note in (tmp_path / "notes").glob("* *")}) >= 2
    for trial in found.front:
        assert sha256_of(spread.artifact(trial.sha256)) == trial.sha256


def test_a_job_that_ends_each_worker_fails_and_the_others_do_not(spread_over, tmp_path):
    jobs = jobs_of("quantize", "dead-channels", "slim")

    found = {job.key: outcome for job, outcome in spread_over("die quantize").outcomes(jobs)}

    assert "workers died over it" in found[jobs[0].key].failure
    assert [found[job.key].failure for job in jobs[1:]] == ["", ""]
    assert len(list((tmp_path / "notes").glob("died *"))) == 2


def test_what_no_worker_can_begin_with_ends_the_search(spread_over):
    with pytest.raises(DataError, match=r"on the worker tcp://.*no sample can be read") as caught:
        list(spread_over("unusable").outcomes(jobs_of("slim")))

    assert caught.value.hint == "mend them"


def test_files_that_a_worker_lacks_are_sent_to_it_once(spread_over, tmp_path):
    spread = spread_over()
    (tmp_path / "here").rename(tmp_path / "there")
    # the files have another name now, as on another machine; what is sent is read under the new one
    for parcel in spread._parcels.values():
        if parcel.root == tmp_path / "here":
            object.__setattr__(parcel, "content", None)
