"""The process that trains, seen from the one that waits.

Training runs apart for three reasons: tfmot turns ``tf.keras`` into Keras 2 for its whole process and changes the
models it is given; TensorFlow trains two to three times as fast with oneDNN, which the proofs go without, because it
gives other numbers on other machines; and what a training took of memory is given back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from tinsmith.compress.training.task import Outcome
from tinsmith.compress.training.watching import Beginning, EpochRecord, StepRecord, Watchers
from tinsmith.runtime import errors

if TYPE_CHECKING:
    from typing import IO

    from tinsmith.compress.training.task import Task
    from tinsmith.compress.training.watching import Watcher

__all__ = ["run_apart"]

# tfmot asks for the first; the second is worth two to three times the speed.
_ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "1", "TF_ENABLE_ONEDNN_OPTS": "1"}


def run_apart(task: Task, watcher: Watcher | None) -> Outcome:
    """Carry out a task in a process of its own, which ends with this one.

    Raises:
        TinsmithError: Whatever the pass raised there.
        ModelError: The process died.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as log, os.fdopen(reading, encoding="utf-8") as answers:
        process = subprocess.Popen(
            [sys.executable, "-m", "tinsmith.compress.training.child", str(writing)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[writing],
            env={**os.environ, **_ENVIRONMENT},
            # Ctrl-C reaches the parent, which ends the child
            start_new_session=True,
        )
        os.close(writing)
        try:
            _tell(process, task)
            answer = _listen(answers, watcher or Watchers([]))
            if answer is None:
                raise _died(process, log, task)
        finally:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
    return Outcome.from_json(answer)


def _tell(process: subprocess.Popen[bytes], task: Task) -> None:
    """Give the child its task; stdin stays open, and its end tells the child that nobody waits any more."""
    if process.stdin:
        process.stdin.write(json.dumps(task.to_json()).encode() + b"\n")
        process.stdin.flush()


def _listen(answers: IO[str], watcher: Watcher) -> dict[str, Any] | None:
    """Pass on what the child says until it gives its answer; None where it ended without one."""
    relay = _Relay(watcher)
    try:
        return _answer(answers, relay)
    finally:
        relay.close()


def _answer(answers: IO[str], relay: _Relay) -> dict[str, Any] | None:
    for line in answers:
        said = json.loads(line)
        if "error" in said:
            family = getattr(errors, said["error"])
            raise family.revive(said["message"], said["hint"])
        if "answer" in said:
            answer: dict[str, Any] = said["answer"]
            return answer
        relay.tell(said)
    return None


class _Relay:
    """Tells a watcher what the child says; also that a training is over whose process died or was interrupted."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._training = False

    def tell(self, said: dict[str, Any]) -> None:
        match said:
            case {"began": facts}:
                self._training = True
                self._watcher.began(Beginning.from_json(facts))
            case {"stepped": facts}:
                self._watcher.stepped(StepRecord(**facts))
            case {"epoch": facts}:
                self._watcher.epoch_done(EpochRecord(**facts))
            case {"ended": facts}:
                self._training = False
                self._watcher.ended(**facts)

    def close(self) -> None:
        if self._training:
            self._watcher.ended(finished=False)


def _died(process: subprocess.Popen[bytes], log: IO[bytes], task: Task) -> errors.TinsmithError:
    status = process.wait()
    reason = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    last = f"; it said last: {lines[-1]}" if lines else ""
    hint = "run it again with --resume; if the machine ran out of memory, lower batch_size"
    return errors.ModelError(f"the process of {task.step['kind']} died ({reason}){last}", hint=hint)
