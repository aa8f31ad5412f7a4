"""What tests run on workers: imported there by name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from pathlib import Path

from tests.unit.search.conftest import figures_of
from tinsmith.compress.search.figures import Timed
from tinsmith.compress.search.subject import Baseline
from tinsmith.compress.search.trying import Outcome
from tinsmith.runtime.errors import DataError, UnreachableError
from tinsmith.runtime.files import write_folder


class OnWorker:
    """Makes an artifact of what the recipe says, and writes down that it has; what the samples say happens to it.

    The samples are a file of lines: ``die N`` kills the process over its Nth job, once of all processes; ``die KIND``
    over each recipe with such a step; ``unusable`` opens nothing at all.
    """

    def __init__(self, subject, folder):
        self._said = Path(subject.data).read_text().split("\n")
        self._notes, self._folder, self._jobs = Path(self._said[0]), folder, 0
        if "unusable" in self._said:
            raise DataError("no sample can be read", hint="mend them")
        self._model = subject.model.read_bytes()

    baseline = Baseline(metric="accuracy", score=0.9)

    def outcomes(self, jobs):
        for job in jobs:
            yield job, self.carried_out(job)

    def artifact(self, sha256):
        return next((self._folder / "artifacts").glob(f"{sha256}.*"))

    def close(self):
        (self._notes / "closed").touch()

    def carried_out(self, job):
        self._jobs += 1
        if f"die {self._jobs}" in self._said:
            with contextlib.suppress(FileExistsError):
                (self._notes / "died").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        for step in job.recipe.steps:
            if f"die {step.kind}" in self._said:
                (self._notes / f"died {os.getpid()}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        (self._notes / f"{job.key} {os.getpid()}").touch()
        content = self._model + job.key.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._folder / "artifacts" / f"{sha256}.{job.target}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        write_folder(self._folder / "passes" / job.key, {"result.json": b"{}", "model/m.keras": b"m"})
        return Outcome(figures=figures_of(job), sha256=sha256, seconds=1.0, training_s=0.5)


def measure_alone(artifact, device, threads):
    """Fails where it is called while it runs already."""
    lock = Path(os.environ["TINSMITH_TEST_NOTES"]) / device
    lock.touch(exist_ok=False)
    time.sleep(0.05)
    lock.unlink()
    size = artifact.stat().st_size
    return Timed(
        device=device, threads=threads, median_ms=size, low_ms=None, high_ms=None, peak_memory_bytes=os.getpid()
    )


def unreachable(artifact, device, threads):
    raise UnreachableError(f"{device} is off", hint="plug it in")


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
