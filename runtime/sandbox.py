"""A child process for files that may kill or hang whoever loads them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tinsmith.runtime import errors
from tinsmith.runtime.operator_times import OperatorTimes
from tinsmith.runtime.placement import Placement
from tinsmith.runtime.tensors import TensorSpec
from tinsmith.runtime.timing import WarmUp
from tinsmith.runtime.wire import encode, read_message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OpenedModel", "Sandbox", "Timed"]

_KILLED_HINT = "the system kills what wants more memory than there is (`dmesg` tells): free some"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """What the child found out by loading a model and running it once on zeros."""

    engine: str
    version: str
    accelerator: str
    placement: Placement
    load_ms: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What a few timed runs have given.

    Attributes:
        samples_ns: One run time each, of those that were kept.
        runs: How many there were.
        peak_memory_bytes: The child's largest resident size so far.
    """

    samples_ns: list[int]
    runs: int
    peak_memory_bytes: int


class Sandbox:
    """Loads and runs artifacts in a child process, one at a time, each question with a time limit.

    The child starts with the object, so that its imports overlap with the parent's work, and ends with the context.
    A child that died is started again by the next ``open``.
    """

    def __init__(self, *, time_limit_s: float = 60.0) -> None:
        self._time_limit_s = time_limit_s
        self._subject = Path("the model")
        self._opened: OpenedModel | None = None
        self._start()

    def open(self, path: Path, *, engine: str | None = None, accelerator: str = "cpu", threads: int = 1) -> OpenedModel:
        """Load a file and run it once on zeros.

        Raises:
            ModelLoadError: The file can't be read, or the engine refused it or died on it.
            ModelTimeoutError: It did not load and answer within the time limit.
            MissingDependencyError: The engine is not installed.
            AcceleratorError: No accelerator of the list took the model.
        """
        if not path.is_file():
            raise errors.ModelLoadError(f"there is no file {path}")
        if self._process.poll() is not None:
            self.close()
            self._start()
        self._subject = path
        answer, _ = self._ask(
            {"ask": "open", "path": str(path), "engine": engine, "accelerator": accelerator, "threads": threads}
        )
        self._opened = OpenedModel(
            engine=answer["engine"],
            version=answer["version"],
            accelerator=answer["accelerator"],
            placement=Placement.from_json(answer["placement"]),
            load_ms=answer["load_ms"],
            inputs=tuple(TensorSpec.from_json(spec) for spec in answer["inputs"]),
            outputs=tuple(TensorSpec.from_json(spec) for spec in answer["outputs"]),
        )
        return self._opened

    @property
    def opened(self) -> OpenedModel:
        """What is open; raises ``ValueError`` before the first ``open``."""
        if self._opened is None:
            message = "open a model first"
            raise ValueError(message)
        return self._opened

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run the open model as ``Session.run`` does; raises the same and ``ModelTimeoutError``."""
        opened = self.opened
        _, outputs = self._ask({"ask": "run"}, [feeds[spec.name] for spec in opened.inputs])
        return {spec.name: array for spec, array in zip(opened.outputs, outputs, strict=True)}

    def run_raw(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run the open model as ``Session.run_raw`` does; raises the same and ``ModelTimeoutError``."""
        opened = self.opened
        _, outputs = self._ask({"ask": "run-raw"}, [feeds[spec.name] for spec in opened.inputs])
        return {spec.name: array for spec, array in zip(opened.outputs, outputs, strict=True)}

    @property
    def pid(self) -> int:
        """The child's number."""
        return self._process.pid

    def warm_up(self, feeds: Mapping[str, NDArray[np.generic]], *, limit_ns: int = 2_000_000_000) -> WarmUp:
        """Run on stored dtypes until the speed is steady, or for as long as ``limit_ns``.

        Raises:
            ModelTimeoutError: It did not end within the time limit.
        """
        request = {"ask": "warm-up", "limit_ns": min(limit_ns, self._half_limit_ns)}
        answer, _ = self._ask(request, self._arrays(feeds))
        return WarmUp(first_ns=answer["first_ns"], runs=answer["runs"], steady=answer["steady"])

    def time(self, feeds: Mapping[str, NDArray[np.generic]], *, runs: int) -> tuple[list[int], int]:
        """Time ``runs`` runs on stored dtypes.

        Returns:
            Nanoseconds a run, and the child's largest resident size in bytes.

        Raises:
            ModelTimeoutError: A run did not end within the time limit.
        """
        samples: list[int] = []
        peak_bytes = 0
        while len(samples) < runs:
            timed = self.time_some(feeds, runs=runs - len(samples))
            samples += timed.samples_ns
            peak_bytes = timed.peak_memory_bytes
        return samples, peak_bytes

    def time_some(
        self, feeds: Mapping[str, NDArray[np.generic]], *, runs: int, budget_ns: int = 2_000_000_000, every: int = 1
    ) -> Timed:
        """Time runs on stored dtypes, one at least, until there are so many or the budget is spent.

        Args:
            feeds: Arrays by name.
            runs: At most so many.
            budget_ns: Two seconds at most.
            every: Keep the first of so many samples.

        Raises:
            ModelTimeoutError: It did not end within the time limit.
        """
        request = {"ask": "time", "runs": runs, "budget_ns": min(budget_ns, self._half_limit_ns), "every": every}
        answer, _ = self._ask(request, self._arrays(feeds))
        return Timed(
            samples_ns=answer["samples_ns"], runs=answer["runs"], peak_memory_bytes=answer["peak_memory_bytes"]
        )

    def count_instructions(self, feeds: Mapping[str, NDArray[np.generic]], *, runs: int) -> tuple[int, ...]:
        """How many instructions each run executes on stored dtypes; the first one that is made does not count.

        Raises:
            ModelTimeoutError: They did not end within the time limit.
            HostError: This machine counts none.
        """
        answer, _ = self._ask({"ask": "count", "runs": runs}, self._arrays(feeds))
        return tuple(answer["counts"])

    def operators(self, feeds: Mapping[str, NDArray[np.generic]], *, runs: int) -> OperatorTimes:
        """How long each operator takes, where the engine tells.

        Raises:
            ModelTimeoutError: It did not end within the time limit.
        """
        answer, _ = self._ask({"ask": "operators", "runs": runs}, self._arrays(feeds))
        return OperatorTimes.from_json(answer)

    @property
    def _half_limit_ns(self) -> int:
        """Many short runs must not look like one that hangs."""
        return round(self._time_limit_s * 1e9 / 2)

    def _arrays(self, feeds: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        return [feeds[spec.name] for spec in self.opened.inputs]

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # what was not yet written has no reader any more
            self._pipe(self._process.stdin).close()
        self._pipe(self._process.stdout).close()
        self._log.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        # -P: a numpy.py in the user's folder must not be what the child imports
        isolate = ["-P"] if sys.version_info >= (3, 11) else []
        self._process = subprocess.Popen(
            [sys.executable, *isolate, "-m", "tinsmith.runtime.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Ctrl-C reaches the parent, which ends the child
            start_new_session=True,
        )
        # where memory runs out, the system kills the child and not its parent, which can say so (proc(5))
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._process.pid}/oom_score_adj").write_text("1000", encoding="ascii")

    def _ask(
        self, request: dict[str, Any], arrays: list[NDArray[np.generic]] | None = None
    ) -> tuple[dict[str, Any], list[NDArray[np.generic]]]:
        deadline = time.monotonic() + self._time_limit_s
        try:
            stdin = self._pipe(self._process.stdin)
            stdin.write(encode(request, arrays or []))
            stdin.flush()
            document, results = read_message(lambda size: self._read(size, deadline))
        except (BrokenPipeError, EOFError):
            raise self._died() from None
        if "error" in document:
            family = getattr(errors, document["error"])
            raise family.revive(document["message"], document["hint"])
        return document["answer"], results

    def _read(self, size: int, deadline: float) -> bytes:
        handle = self._pipe(self._process.stdout).fileno()
        parts = []
        while size:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([handle], [], [], left_s)[0]:
                self._process.kill()
                self._process.wait()
                raise errors.ModelTimeoutError(
                    f"{self._subject} did not answer within {self._time_limit_s:g} s, and was stopped",
                    hint="the model may hang for ever; if it is only slow, raise --time-limit",
                )
            part = os.read(handle, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _died(self) -> errors.ModelLoadError:
        status = self._process.wait()
        reason = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"{reason}; it said last: {lines[-1]}" if lines else reason
        if status == -signal.SIGKILL:
            return errors.ModelLoadError(f"the engine died on {self._subject}: {how}", hint=_KILLED_HINT)
        return errors.EngineDiedError(self._subject, how)

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            message = "the child has no pipe"
            raise ValueError(message)
        return pipe
