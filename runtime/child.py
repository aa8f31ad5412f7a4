"""The child process: loads files that may be damaged or hostile, runs them, and times them.

Started by ``tinsmith.runtime.sandbox`` as ``python -m tinsmith.runtime.child``; answers each message on stdin with one
on stdout until stdin ends.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tinsmith.runtime import errors
from tinsmith.runtime.operator_times import profile_operators
from tinsmith.runtime.session import Session, open_vetted
from tinsmith.runtime.timing import time_runs, warm_up
from tinsmith.runtime.wire import encode, read_message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Feeds = dict[str, NDArray[np.generic]]
    Answer = tuple[dict[str, Any], list[NDArray[np.generic]]]

__all__ = ["main"]

# A timing question is answered after this long with what there is, so that the parent's time limit can stay short.
_BUDGET_NS = 2_000_000_000


class _Worker:
    """Holds the one model that is open."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._path, self._threads = Path(), 1

    def answer(self, request: dict[str, Any], arrays: list[NDArray[np.generic]]) -> Answer:
        if request["ask"] == "open":
            return self._open(request)
        if self._session is None:
            raise errors.UsageError("open a model first")
        feeds = {spec.name: array for spec, array in zip(self._session.inputs, arrays, strict=True)}
        if request["ask"] == "run":
            return self._run(self._session, feeds)
        if request["ask"] == "run-raw":
            return self._run_raw(self._session, feeds)
        measuring = {"warm-up": self._warm_up, "time": self._time, "count": self._count, "operators": self._operators}
        return measuring[request["ask"]](self._session, feeds, request)

    def _open(self, request: dict[str, Any]) -> Answer:
        if self._session is not None:
            self._session.close()
        self._path, self._threads = Path(request["path"]), request["threads"]
        started = time.perf_counter()
        self._session = session = open_vetted(
            self._path,
            engine=request["engine"],
            accelerator=request["accelerator"],
            threads=request["threads"],
        )
        load_ms = (time.perf_counter() - started) * 1e3
        session.run_raw(session.zeros())
        facts = {
            "load_ms": load_ms,
            "engine": session.engine.name,
            "version": session.engine.version,
            "accelerator": session.engine.accelerator,
            "placement": session.engine.placement().to_json(),
            "inputs": [spec.to_json() for spec in session.inputs],
            "outputs": [spec.to_json() for spec in session.outputs],
        }
        return facts, []

    @staticmethod
    def _run(session: Session, feeds: Feeds) -> Answer:
        outputs = session.run(feeds)
        return {}, [outputs[spec.name] for spec in session.outputs]

    @staticmethod
    def _run_raw(session: Session, feeds: Feeds) -> Answer:
        outputs = session.run_raw(feeds)
        return {}, [outputs[spec.name] for spec in session.outputs]

    @staticmethod
    def _warm_up(session: Session, feeds: Feeds, request: dict[str, Any]) -> Answer:
        warmed = warm_up(lambda: session.run_raw(feeds), limit_ns=request["limit_ns"])
        return {"first_ns": warmed.first_ns, "runs": warmed.runs, "steady": warmed.steady}, []

    @staticmethod
    def _time(session: Session, feeds: Feeds, request: dict[str, Any]) -> Answer:
        budget_ns = min(request["budget_ns"], _BUDGET_NS)
        samples = time_runs(lambda: session.run_raw(feeds), runs=request["runs"], budget_ns=budget_ns)
        kept = samples[:: request["every"]]
        return {"samples_ns": kept, "runs": len(samples), "peak_memory_bytes": _peak_memory_bytes()}, []

    @staticmethod
    def _count(session: Session, feeds: Feeds, request: dict[str, Any]) -> Answer:
        from tinsmith.runtime.instructions import count_runs

        return {"counts": count_runs(lambda: session.run_raw(feeds), runs=request["runs"])}, []

    def _operators(self, session: Session, feeds: Feeds, request: dict[str, Any]) -> Answer:
        arrays = [feeds[spec.name] for spec in session.inputs]
        profile = profile_operators(self._path, self._threads, session.engine, arrays, runs=request["runs"])
        return profile.to_json(), []


def main() -> None:
    """Serve until the parent closes the pipe."""
    # Engines print to stdout as they like; what the parent reads goes through a handle of its own.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = sys.stdin.buffer
    worker = _Worker()
    while head := source.read(4):
        request, arrays = read_message(_after(head, source))
        out.write(_answer(worker, request, arrays))
        out.flush()


def _answer(worker: _Worker, request: dict[str, Any], arrays: list[NDArray[np.generic]]) -> bytes:
    try:
        document, results = worker.answer(request, arrays)
    except errors.TinsmithError as error:
        return encode({"error": type(error).__name__, "message": error.message, "hint": error.hint})
    except MemoryError:
        return encode({"error": "ModelError", "message": "the model needs more memory than there is", "hint": ""})
    return encode({"answer": document}, results)


def _peak_memory_bytes() -> int:
    """This process's largest resident size.

    Read from the kernel's VmHWM: ``ru_maxrss`` survives exec, and so would report the parent that started us.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _after(head: bytes, source: BinaryIO) -> Any:
    """A reader that gives ``head`` first, which was read to find out whether there is a message at all."""
    pending = [head]

    def read(size: int) -> bytes:
        return pending.pop() if pending else source.read(size)

    return read


if __name__ == "__main__":
    main()
