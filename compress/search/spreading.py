"""Jobs in worker processes on this machine, each watched: one that dies, hangs or grows costs its own job alone."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.compress.search.descent import descendants, resident_bytes, scratch_of
from tinsmith.compress.search.subject import ARTIFACTS_NAME, Baseline, artifact_in
from tinsmith.compress.search.trying import Outcome
from tinsmith.runtime import errors
from tinsmith.runtime.errors import HostError, ModelError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from typing_extensions import Self

    from tinsmith.compress.search.subject import Subject
    from tinsmith.compress.search.trying import Job

__all__ = ["Care", "LocalSpread"]

logger = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "tinsmith.compress.search.worker")
_LOOK_EVERY_S = 0.5
# Where memory runs out, the system ends a worker and not the search, which can say so (proc(5)).
_OOM_SCORE = "500"
_MOST_LOST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How workers are watched.

    Attributes:
        workers: How many there are, at least 1.
        minutes: That a job may take; above 0.
        memory_bytes: That a worker may hold with all that it has started; None for as much as there is.
    """

    workers: int = 1
    minutes: float = 60.0
    memory_bytes: int | None = None


class LocalSpread:
    """The ``Spread`` over processes of this machine, which end with this object and with this process.

    Args:
        subject: What trials are made of.
        folder: Where workers keep results of passes, artifacts and their logs; made where there is none.
        care: How many there are, and how they are watched.
        command: Starts a worker.

    Raises:
        OutputError: The folder can't be made.
    """

    def __init__(self, subject: Subject, folder: Path, care: Care, *, command: Sequence[str] = _COMMAND) -> None:
        self._said = {"subject": subject.to_json(), "folder": str(folder)}
        self._folder, self._care, self._command = folder, care, command
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._baseline: Baseline | None = None
        self._lost_opening = 0
        try:
            (folder / ARTIFACTS_NAME).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError.from_os_error(folder, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def baseline(self) -> Baseline:
        """What a worker knows once it has opened the source and the samples.

        Raises:
            TinsmithError: They can't be opened, or are not what the bounds need.
        """
        while self._baseline is None:
            if not self._workers:
                self._start(1)
            for worker in self._heard():
                self._take(worker)
        return self._baseline

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """See ``Spread``; a job whose worker dies is tried once more."""
        waiting, lost = deque(jobs), Counter[str]()
        try:
            while self._hand_out(waiting):
                for worker in self._heard():
                    job = worker.job
                    outcome = self._take(worker)
                    if job is None or (outcome is None and worker.alive):
                        continue
                    lost[job.key] += outcome is None and worker.ready
                    if outcome is None and lost[job.key] < _MOST_LOST:
                        waiting.appendleft(job)
                    else:
                        yield job, outcome or Outcome(figures=None, seconds=worker.spent_s, failure=worker.death)
                yield from self._overrun()
        finally:
            for worker in self._busy:
                self._dismiss(worker)

    def artifact(self, sha256: str) -> Path:
        """See ``Spread``."""
        return artifact_in(self._folder, sha256)

    def close(self) -> None:
        """End all workers, whatever they do."""
        for worker in list(self._workers.values()):
            self._dismiss(worker)
        self._selector.close()

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.job is not None]

    def _hand_out(self, waiting: deque[Job]) -> bool:
        """Give what waits to those that are idle; says whether there is still something to wait for."""
        for number in range(1, self._care.workers + 1):
            if not waiting:
                break
            worker = self._workers.get(number) or self._start(number)
            if worker.job is None:
                worker.give(waiting.popleft())
        return bool(self._busy)

    def _start(self, number: int) -> _Worker:
        worker = _Worker(self._command, number, self._folder / f"worker-{number}.log", self._said)
        self._workers[number] = worker
        self._selector.register(worker.handle, selectors.EVENT_READ, worker)
        return worker

    def _dismiss(self, worker: _Worker) -> None:
        self._selector.unregister(worker.handle)
        del self._workers[worker.number]
        worker.end()
        for left in self._folder.glob(f"{scratch_of(worker.pid)}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _heard(self) -> list[_Worker]:
        """Those that have said something, or died, after half a second at most."""
        left_s = min((self._limit_s - worker.spent_s for worker in self._busy), default=math.inf)
        ready = self._selector.select(max(0.0, min(left_s, _LOOK_EVERY_S)))
        return [key.data for key, _ in ready]

    def _take(self, worker: _Worker) -> Outcome | None:
        """What a worker says; None where that is no outcome, or where it died and was dismissed.

        Raises:
            TinsmithError: No job can be carried out.
        """
        outcome = None
        for said in worker.messages():
            if "error" in said:
                raise getattr(errors, said["error"]).revive(said["message"], said["hint"])
            if "ready" in said:
                self._baseline, self._lost_opening = Baseline.from_json(said["ready"]), 0
            else:
                outcome = Outcome.from_json(said["done"])
        if not worker.alive:
            self._dismiss(worker)
            self._count_lost(worker)
        return outcome

    def _count_lost(self, worker: _Worker) -> None:
        logger.warning("worker %d: %s", worker.number, worker.death)
        self._lost_opening += not worker.ready
        if self._lost_opening >= _MOST_LOST:
            raise ModelError(
                f"opening the source and the samples: {worker.death}",
                hint=f"{worker.log} may say why; free some memory",
            )

    @property
    def _limit_s(self) -> float:
        return 60 * self._care.minutes

    def _overrun(self) -> Iterator[tuple[Job, Outcome]]:
        """Jobs that take too long, or too much; their workers are ended."""
        for worker in self._busy:
            why = self._too_much(worker)
            if why and worker.job is not None:
                self._dismiss(worker)
                yield worker.job, Outcome(figures=None, seconds=worker.spent_s, failure=why)

    def _too_much(self, worker: _Worker) -> str:
        if worker.spent_s >= self._limit_s:
            return f"it took more than {self._care.minutes:g} min, and was stopped"
        allowed = self._care.memory_bytes
        held = 0 if allowed is None else resident_bytes(worker.pid)
        if allowed is None or held <= allowed:
            return ""
        return f"it held {held / 2**20:,.0f} MiB of memory, {allowed / 2**20:,.0f} are allowed, and was stopped"


class _Worker:
    """One process.

    Args:
        command: Starts it.
        number: From 1.
        log: The file that gets what it prints.
        said: The first message.

    Attributes:
        job: What it works on; None while it is idle.
        ready: Whether it has opened its workroom.
        alive: Whether it can still be spoken to.
        death: Why not.
    """

    def __init__(self, command: Sequence[str], number: int, log: Path, said: dict[str, Any]) -> None:
        self.number, self.log = number, log
        self.job: Job | None = None
        self.ready, self.alive, self.death = False, True, ""
        self._began_s, self._rest = time.monotonic(), b""
        self.handle, writing = os.pipe()
        try:
            with log.open("ab") as stream:
                self._process = subprocess.Popen(
                    [*command, str(writing)],
                    stdin=subprocess.PIPE,
                    stdout=stream,
                    stderr=stream,
                    pass_fds=[writing],
                    # Ctrl-C reaches the parent, which ends the worker
                    start_new_session=True,
                )
        except OSError as error:
            raise HostError(f"no worker can be started: {error}") from error
        finally:
            os.close(writing)
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
        self._tell(said)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def spent_s(self) -> float:
        """Since it has the job, or could begin with it; 0 until it is ready."""
        return round(time.monotonic() - self._began_s, 3) if self.ready else 0.0

    def give(self, job: Job) -> None:
        """The next one."""
        self.job, self._began_s = job, time.monotonic()
        self._tell(job.to_json())

    def messages(self) -> list[dict[str, Any]]:
        """What it has said since; after the last one of a process that died, ``alive`` is off."""
        content = os.read(self.handle, 1 << 20)
        if not content:
            self.alive, self.death = False, self._why()
        *lines, self._rest = (self._rest + content).split(b"\n")
        said = [json.loads(line) for line in lines]
        for one in said:
            if "ready" in one:
                self.ready, self._began_s = True, time.monotonic()
            else:
                self.job = None
        return said

    def end(self) -> None:
        """Kill it with all that it has started."""
        started = descendants(self.pid)
        self._process.kill()
        self._process.wait()
        for child in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._stdin.close()
        os.close(self.handle)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _tell(self, said: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died, as will be heard
            self._stdin.write(json.dumps(said).encode() + b"\n")
            self._stdin.flush()

    def _why(self) -> str:
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return "its process was killed (SIGKILL), as where memory runs out"
        said = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"its process died ({said}); {self.log} may say why"
