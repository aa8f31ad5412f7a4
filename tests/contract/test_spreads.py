"""What every ``Spread`` does with jobs that work, fail, die and hang; the fake and the real thing."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.contract.spread_worker import BREAK, DIE, DIE_ONCE, FAIL, FILL, GROW, HANG, REFUSE, WORK, deed_of
from tinsmith.compress.recipe import Recipe
from tinsmith.compress.search.figures import Figures
from tinsmith.compress.search.spreading import Care, LocalSpread
from tinsmith.compress.search.subject import Subject
from tinsmith.compress.search.trying import Job, Outcome
from tinsmith.runtime.errors import DataError, ModelError, OutputError

WORKER = (sys.executable, str(Path(__file__).with_name("spread_worker.py")))
SAID = {FAIL: "no such channel", DIE: "killed", HANG: "stopped", BREAK: "a defect: ZeroDivisionError: of all things"}


def job(deed, number=0):
    step = {"kind": "dead-channels", "largest_input": 10.0 * number + deed}
    return Job(recipe=Recipe.model_validate({"version": 1, "target": "tflite", "steps": [step]}), target="tflite")


class FakeSpread:
    """Knows what becomes of the jobs of ``spread_worker`` without any process."""

    def __init__(self, folder):
        self._folder = folder

    def outcomes(self, jobs):
        for one in jobs:
            deed = deed_of(one)
            if deed in (REFUSE, FILL):
                raise OutputError("the disk is full", hint="free some")
            if deed in SAID:
                yield one, Outcome(figures=None, failure=SAID[deed])
                continue
            self.artifact(one.key).write_bytes(b"artifact")
            yield one, Outcome(figures=Figures(file_bytes=8, zip_bytes=8, flash_bytes=8), sha256=one.key)

    def artifact(self, sha256):
        return self._folder / f"{sha256}.tflite"


@contextlib.contextmanager
def local(folder, *, workers=2, seconds=60.0, metric=None, **care):
    subject = Subject(model=Path("m.keras"), data=None, metric=metric)
    with LocalSpread(subject, folder, Care(workers=workers, minutes=seconds / 60, **care), command=WORKER) as spread:
        yield spread


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Workers import this folder's modules as this process does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]))


@pytest.fixture(params=["fake", "one worker", "two workers"])
def spread(request, tmp_path):
    if request.param == "fake":
        yield FakeSpread(tmp_path)
        return
    with local(tmp_path / "work", workers=1 if request.param == "one worker" else 2) as found:
        yield found


def test_each_job_has_one_outcome(spread):
    jobs = [job(WORK, number) for number in range(4)] + [job(FAIL), job(BREAK), job(DIE_ONCE), job(DIE)]
    found = list(spread.outcomes(jobs))
    assert sorted(one.key for one, _ in found) == sorted(one.key for one in jobs)
    for one, outcome in found:
        said = SAID.get(deed_of(one))
        if said is None:
            assert (outcome.figures.file_bytes, outcome.failure) == (8, "")
            assert spread.artifact(outcome.sha256).read_bytes() == b"artifact"
        else:
            assert (outcome.figures, outcome.sha256) == (None, "")
            assert said in outcome.failure


@pytest.mark.parametrize("deed", [REFUSE, FILL])
def test_what_no_recipe_can_change_ends_it(spread, deed):
    with pytest.raises(OutputError, match=r"disk is full|No space left"):
        list(spread.outcomes([job(deed)]))


def test_it_can_be_asked_again(spread):
    for number in range(2):
        assert [outcome.failure for _, outcome in spread.outcomes([job(WORK, number)])] == [""]


def begun(folder):
    return [line.split() for line in (folder / "begun").read_text().splitlines()]


def test_a_job_that_loses_its_worker_is_tried_once_more(tmp_path):
    with local(tmp_path) as spread:
        outcomes = {deed_of(one): outcome for one, outcome in spread.outcomes([job(DIE), job(DIE_ONCE)])}
    assert outcomes[DIE].failure.startswith("its process was killed (SIGKILL)")
    assert outcomes[DIE_ONCE].failure == ""
    assert sorted(key for key, _ in begun(tmp_path)) == sorted(2 * [job(DIE).key, job(DIE_ONCE).key])


def test_what_hangs_is_stopped_with_all_that_it_started(tmp_path):
    with local(tmp_path, workers=1, seconds=0.3) as spread:
        outcomes = {deed_of(one): outcome for one, outcome in spread.outcomes([job(HANG), job(WORK)])}
    assert "more than" in outcomes[HANG].failure
    assert outcomes[HANG].seconds >= 0.3
    assert outcomes[WORK].failure == ""
    assert len(begun(tmp_path)) == 2, "what takes too long once does so again"
    assert list(tmp_path.glob("trial-*")) == []
    wait_until(lambda: all_gone(tmp_path))


def test_what_grows_is_stopped(tmp_path):
    with local(tmp_path, memory_bytes=150 << 20) as spread:
        ((_, outcome),) = spread.outcomes([job(GROW)])
    assert "MiB of memory, 150 are allowed" in outcome.failure


def test_one_worker_does_one_job_at_a_time_in_one_process(tmp_path):
    with local(tmp_path, workers=1) as spread:
        jobs = [job(WORK, number) for number in range(3)]
        assert [one.key for one, _ in spread.outcomes(jobs)] == [one.key for one in jobs]
    assert len({pid for _, pid in begun(tmp_path)}) == 1


def test_the_baseline_is_known_before_any_job(tmp_path):
    with local(tmp_path) as spread:
        assert (spread.baseline.metric, spread.baseline.samples) == ("accuracy", 3)


def test_what_can_not_be_opened_is_said_by_its_own_error(tmp_path):
    with local(tmp_path, metric="refuses") as spread, pytest.raises(DataError, match="no labels"):
        list(spread.outcomes([job(WORK)]))


def test_a_worker_that_dies_again_and_again_as_it_opens_ends_it(tmp_path):
    with local(tmp_path, metric="dies") as spread, pytest.raises(ModelError, match="opening the source"):
        list(spread.outcomes([job(WORK)]))


def test_who_asks_no_further_leaves_nothing_running(tmp_path):
    with local(tmp_path) as spread:
        outcomes = spread.outcomes([job(HANG), job(WORK)])
        assert next(outcomes)[1].failure == ""
        wait_until(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text().endswith("\n"))
        outcomes.close()
        (child,) = (tmp_path / "started").read_text().split()
        wait_until(lambda: not _lives(int(child)))
        assert [outcome.failure for _, outcome in spread.outcomes([job(WORK, 1)])] == [""]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_and_what_they_started_end_with_the_search(tmp_path, signum):
    code = (
        "from tests.contract.test_spreads import HANG, Path, job, local\n"
        f"with local(Path({str(tmp_path)!r})) as spread:\n"
        "    list(spread.outcomes([job(HANG), job(HANG, 1)]))\n"
    )
    with (tmp_path / "log").open("w") as log:
        search = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log)
    wait_until(lambda: (tmp_path / "started").exists() and len((tmp_path / "started").read_text().split()) == 2)
    search.send_signal(signum)
    search.wait()
    wait_until(lambda: all_gone(tmp_path))


def all_gone(folder):
    pids = [int(pid) for _, pid in begun(folder)]
    pids += [int(pid) for pid in (folder / "started").read_text().split()]
    return not any(_lives(pid) for pid in pids)


def _lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(holds, seconds=30):
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never came to it"
        threading.Event().wait(0.01)
