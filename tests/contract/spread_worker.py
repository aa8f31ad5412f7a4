"""A worker whose jobs do what they are named after; see ``spread_jobs``."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tinsmith.compress.search.descent import scratch_of
from tinsmith.compress.search.figures import Figures
from tinsmith.compress.search.subject import Baseline, Produced
from tinsmith.compress.search.trying import Outcome
from tinsmith.compress.search.worker import serve
from tinsmith.runtime.errors import DataError, OutputError

# A job says what it does by its step's largest_input, the one number that a recipe may hold for nothing.
WORK, FAIL, DIE, DIE_ONCE, HANG, BREAK, GROW, REFUSE, FILL = range(1, 10)


def deed_of(job):
    """What a job does."""
    return int(job.recipe.steps[0].largest_input) % 10


class Room:
    """A workroom without a model."""

    def __init__(self, subject, folder):
        if subject.metric == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if subject.metric == "refuses":
            raise DataError("there are no labels", hint="give some")
        self._folder = folder
        self.baseline = Baseline(metric="accuracy", score=0.5, samples=3)

    def carry_out(self, job):
        deed = deed_of(job)
        with (self._folder / "begun").open("a") as stream:
            stream.write(f"{job.key} {os.getpid()}\n")
        if deed == DIE or (deed == DIE_ONCE and (self._folder / "begun").read_text().count(job.key) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if deed in (HANG, GROW):
            self._stay(deed)
        if deed == FAIL:
            return Produced(outcome=Outcome(figures=None, failure="no such channel"), path=None)
        if deed == BREAK:
            raise ZeroDivisionError("of all things")
        if deed == REFUSE:
            raise OutputError("the disk is full", hint="free some")
        if deed == FILL:
            raise OSError(errno.ENOSPC, "No space left on device", "m.tflite")
        path = self._folder / "artifacts" / f"{job.key}.{job.target}"
        path.write_bytes(b"artifact")
        figures = Figures(file_bytes=8, zip_bytes=8, flash_bytes=8)
        return Produced(outcome=Outcome(figures=figures, sha256=job.key), path=path)

    def _stay(self, deed):
        """For ever, with a process of its own that holds memory where it grows."""
        mebibytes = 200 if deed == GROW else 0
        code = f"import time; held = b'1' * ({mebibytes} << 20); time.sleep(600)"
        tempfile.mkdtemp(prefix=scratch_of(os.getpid()), dir=self._folder)
        child = subprocess.Popen([sys.executable, "-c", code])
        with (self._folder / "started").open("a") as stream:
            stream.write(f"{child.pid}\n")
        time.sleep(600)


if __name__ == "__main__":
    serve(lambda subject, folder: Room(subject, Path(folder)))
