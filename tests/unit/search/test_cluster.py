"""The same search on a cluster, whose workers die; and boards that workers have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.search.conftest import Stopwatch, points
from tests.unit.search.on_workers import OnWorker, die, measure_alone, unreachable
from tinsmith.compress.recipe import Recipe
from tinsmith.compress.search.bounds import Ask
from tinsmith.compress.search.cluster import DaskSpread, DaskStopwatch, _Opened
from tinsmith.compress.search.subject import Subject
from tinsmith.compress.search.trying import Job
from tinsmith.convert.cluster import Cluster
from tinsmith.convert.workers import Errand
from tinsmith.runtime.errors import DataError, HostError, UnreachableError, UsageError
from tinsmith.runtime.files import sha256_of

# Each process has another folder by this name, as each machine would.
_ELSEWHERE = Path("/proc/self/cwd")


@pytest.fixture
def cluster(dask_cluster):
    with Cluster(dask_cluster.scheduler_address) as cluster:
        yield cluster


@pytest.fixture
def spread_over(cluster, golden, tmp_path):
    """A spread whose workers do what the lines say."""
    for name in ("notes", "here", "work"):
        (tmp_path / name).mkdir()
    shutil.copy(golden / "dense.tflite", tmp_path / "here")

    def spread(*said, below=_ELSEWHERE):
        (tmp_path / "here" / "samples.npz").write_text("\n".join([str(tmp_path / "notes"), *said]))
        subject = Subject(model=below / "here" / "dense.tflite", data=str(below / "here" / "samples.npz"))
        return DaskSpread(cluster, subject, OnWorker, below / "work")

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


def test_files_that_a_worker_lacks_are_sent_to_it_once(spread_over, cluster, monkeypatch):
    sent, run = [], cluster.client.run
    monkeypatch.setattr(cluster.client, "run", lambda *args, **more: sent.append(args[1].entry) or run(*args, **more))

    outcomes = list(spread_over().outcomes(jobs_of("slim", "dead-channels", "quantize", "bn-recalibrate")))

    assert [outcome.failure for _, outcome in outcomes] == [""] * 4
    # the model was sent by a test before, if this is not the first
    assert 1 <= sent.count("samples.npz") <= 2
    assert sent.count("dense.tflite") <= 2


def test_the_baseline_is_what_a_worker_has_found(spread_over):
    assert (spread_over().baseline.metric, spread_over().baseline.score) == ("accuracy", 0.9)


def test_where_machines_share_a_folder_nothing_is_sent(spread_over, cluster, tmp_path, monkeypatch):
    spread = spread_over(below=tmp_path)
    monkeypatch.setattr(spread, "_keep", lambda files: [].remove(files) if files else None)
    monkeypatch.setattr(cluster.client, "run", None)

    ((_, outcome),) = spread.outcomes(jobs_of("slim"))

    assert spread.artifact(outcome.sha256).read_bytes().endswith(jobs_of("slim")[0].key.encode())


def test_what_trainings_gave_comes_back_as_folders(spread_over, tmp_path):
    (job,) = jobs_of("slim")
    sketch = replace(jobs_of("quantize")[0], effort="sketch")

    list(spread_over().outcomes([job, sketch]))

    (result,) = (tmp_path / "work" / "passes").iterdir()
    assert result.name == job.key
    assert (result / "model" / "m.keras").read_bytes() == b"m"


class Nowhere:
    """A stopwatch of this machine."""

    def __init__(self):
        self.facts, self.asked = ({"name": "pi4"},), []

    def __call__(self, *asked):
        self.asked.append(asked)


def test_a_search_that_ends_leaves_nothing_open_on_workers(spread_over, tmp_path):
    with spread_over() as spread:
        list(spread.outcomes(jobs_of("slim", "dead-channels")))
        assert not (tmp_path / "notes" / "closed").exists()

    assert (tmp_path / "notes" / "closed").exists()


def test_what_a_killed_search_has_left_open_is_closed_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("tinsmith.compress.search.cluster._IDLE_S", 0.01)
    closed = threading.Event()
    opens = lambda subject, work: SimpleNamespace(close=closed.set)  # noqa: E731
    order = SimpleNamespace(name="one", token="search", subject=None, opens=opens)

    with _Opened().taken(order, tmp_path):
        assert not closed.wait(0.1)

    assert closed.wait(10)


def test_a_board_is_measured_by_its_worker_and_never_twice_at_once(cluster, tmp_path):
    paths = [tmp_path / f"{number}.tflite" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(b"----TFL3" + bytes(number))
    measure = DaskStopwatch(cluster, Nowhere(), measure_alone)

    with ThreadPoolExecutor(4) as threads:
        timed = list(threads.map(measure, paths, ["pi4"] * 4, [2] * 4))

    assert [found.median_ms for found in timed] == [8, 9, 10, 11]
    assert len({found.peak_memory_bytes for found in timed}) == 1
    assert timed[0].peak_memory_bytes != os.getpid()


def test_a_board_that_no_worker_has_is_measured_here(cluster, tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"----TFL3")
    here = Nowhere()

    stopwatch = DaskStopwatch(cluster, here, measure_alone)
    stopwatch(tmp_path / "a.tflite", "pi5", 1)

    assert here.asked == [(tmp_path / "a.tflite", "pi5", 1)]
    assert stopwatch.facts is here.facts


def test_a_board_whose_worker_is_gone_is_unreachable(cluster, tmp_path, monkeypatch):
    (tmp_path / "a.tflite").write_bytes(b"----TFL3")
    offered = iter([1, 1])
    monkeypatch.setattr(cluster, "offering", lambda name: next(offered, 0) if name == "device:pi9" else 2)
    monkeypatch.setattr(cluster, "patience_s", 0.0)

    with pytest.raises(UnreachableError, match=r"no worker of tcp://.* has device:pi9 any more"):
        DaskStopwatch(cluster, Nowhere(), measure_alone)(tmp_path / "a.tflite", "pi9", 1)


def test_what_fails_at_a_board_is_the_same_error_here(cluster, tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"----TFL3")

    with pytest.raises(UnreachableError, match=r"on the worker tcp://.*: pi4 is off") as caught:
        DaskStopwatch(cluster, Nowhere(), unreachable)(tmp_path / "a.tflite", "pi4", 1)

    assert caught.value.hint == "plug it in"


_ONE_PROCESS = """
import distributed, time
settings = {"dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1"}
workers = {"only": {"cls": distributed.Worker, "options": {"nthreads": 1}}}
scheduler = {"cls": distributed.Scheduler, "options": settings}
print(distributed.SpecCluster(scheduler=scheduler, workers=workers).scheduler_address, flush=True)
time.sleep(60)
"""


def test_a_scheduler_that_dies_is_said_with_the_way_to_go_on():
    command = [sys.executable, "-c", _ONE_PROCESS]
    errands = [Errand(work=die, task=None, parcels={})]
    # its worker imports this file
    root, quiet = Path(__file__).parents[3], subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True, cwd=root) as process:
        cluster = Cluster(process.stdout.readline().strip())
        # its only worker lives in the same process
        with pytest.raises(HostError, match="is gone") as caught:
            list(cluster.run(errands))
        with pytest.raises(HostError, match="is gone"):
            list(cluster.run(errands))
        cluster.close()

    assert "--resume" in caught.value.hint


@pytest.mark.parametrize(
    ("scheduler", "error", "said"),
    [("tcp://127.0.0.1:9", HostError, "no scheduler answers at"), ("10.0.0.5", UsageError, "tcp://HOST:PORT")],
)
def test_a_scheduler_that_is_not_there_is_said(scheduler, error, said, monkeypatch):
    monkeypatch.setattr("tinsmith.convert.cluster._CONNECT_S", 0.2)
    with pytest.raises(error) as caught:
        Cluster(scheduler)

    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_worker_with_another_version_is_named_at_the_start(dask_cluster, monkeypatch):
    monkeypatch.setattr("tinsmith.convert.cluster.__version__", "9.9")
    with pytest.raises(HostError, match=r"the worker tcp://\S+ has tinsmith \S+; here is 9.9"):
        Cluster(dask_cluster.scheduler_address)


def test_a_worker_with_another_version_that_comes_later_is_named_as_well(cluster, monkeypatch):
    monkeypatch.setattr("tinsmith.convert.cluster.__version__", "9.9")
    (fate,) = cluster.run([Errand(work=die, task=None, parcels={})])

    assert "9.9" in fate.error.message
