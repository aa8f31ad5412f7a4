"""What is served: a model with all that goes with it, and the two protocols behind which it is loaded and run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.bundle.golden import Golden
    from tinsmith.runtime.bundle.manifest import Promise
    from tinsmith.runtime.monitor.reference import Reference
    from tinsmith.runtime.postprocessing import Postprocessing
    from tinsmith.runtime.preprocessing import Preprocessing
    from tinsmith.runtime.server.statistics import Statistics
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]
    Feeds = Mapping[str, Array]

__all__ = ["Answered", "Limits", "ModelState", "Repository", "Servable", "ServedModel", "Watcher", "instances_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable:
    """One version of a model, verified, and with its artifact on disk; of a bundle, or a bare artifact.

    Attributes:
        name: Under which it is served.
        version: The bundle's, as text; ``1`` for a bare artifact.
        path: Of the .tflite or .onnx file, which nobody else writes to.
        format: ``tflite`` or ``onnx``.
        sha256: Of the artifact.
        engine: Its name; None takes the default of the format.
        accelerator: ``cpu``, or names in the order to try them.
        threads: For one run.
        instances: Interpreters that it asks for.
        preprocessing: What turns a file or text into what the model is fed; None where nobody said.
        postprocessing: What turns outputs into an answer; None where nobody said.
        golden: Inputs with the outputs they must give; None for a bare artifact.
        reference: What inputs and outputs looked like when the bundle was made; None where it says nothing.
        promise: How long a run may take; None where nobody said.
    """

    name: str
    version: str
    path: Path
    format: str
    sha256: str
    engine: str | None = None
    accelerator: str = "cpu"
    threads: int = 1
    instances: int = 1
    preprocessing: Preprocessing | None = None
    postprocessing: Postprocessing | None = None
    golden: Golden | None = None
    reference: Reference | None = None
    promise: Promise | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a served model takes on.

    Attributes:
        instances: Interpreters; as many requests run at once. None takes the bundle's, or 1.
        queue: Requests that may wait; one more is refused with 429.
        deadline_s: From a request's first byte to its answer, unless the client asks for less.
        time_limit_s: For one run; an interpreter that needs longer is given up and replaced.
        max_batch: Requests put together to one run; 1 for none. Only where every first axis is free.
        max_delay_ms: How long the first of a batch waits for others.
        finite: Whether NaN and infinity in a request are refused.
        max_body_bytes: Of a request, before and after its Content-Encoding is undone.
    """

    instances: int | None = None
    queue: int = 32
    deadline_s: float = 5.0
    time_limit_s: float = 10.0
    max_batch: int = 1
    max_delay_ms: float = 0.0
    finite: bool = False
    max_body_bytes: int = 64 << 20


def instances_of(servable: Servable, limits: Limits) -> int:
    """How many interpreters a model gets."""
    return limits.instances or servable.instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a run gave.

    Attributes:
        outputs: One array an output name, in the stored dtypes.
        queue_ns: From being handed over to the start of the run.
        infer_ns: The run itself; of the whole batch where there was one.
        batch: How many requests shared the run.
    """

    outputs: dict[str, Array]
    queue_ns: int
    infer_ns: int
    batch: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One line of the repository's index.

    Attributes:
        name: Of the model.
        version: Of what is served, or was last tried; empty where nothing was read yet.
        state: ``READY``, ``LOADING``, ``UNLOADING`` or ``UNAVAILABLE``.
        reason: Why it is unavailable, or why the last try to swap it was refused; empty where all is well.
    """

    name: str
    version: str
    state: str
    reason: str = ""


class ServedModel(Protocol):
    """One loaded version: a queue in front of some interpreters.

    Attributes:
        servable: What is loaded.
        inputs: What goes in, with stored dtypes.
        outputs: What comes out, with stored dtypes.
        batches: Whether every input and output has a free first axis.
        engine: Name and version, such as ``litert 2.3.0``.
        statistics: Counts and times of this version. The served model counts its runs, the handler the requests.
    """

    servable: Servable
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: bool
    engine: str
    statistics: Statistics

    def infer(self, feeds: Feeds, *, deadline_s: float) -> Answered:
        """Wait for an interpreter, and run once on stored dtypes; watchers and nobody else see it.

        Args:
            feeds: One array an input name, of its stored dtype, and checked against its shape.
            deadline_s: On ``time.monotonic``'s clock.

        Raises:
            Refusal: The queue is full (429), the deadline has passed (504), or interpreters were lost (503).
            ModelError: The engine failed.
        """
        ...

    def check_room(self) -> None:
        """Raise the ``Refusal`` that a request would get now (429, 503), before its body is read."""
        ...


class Repository(Protocol):
    """The models of a server by name; safe to call from many threads at once."""

    def lease(self, name: str, version: str | None = None) -> AbstractContextManager[ServedModel]:
        """A model that is not freed before the context ends, whatever is swapped in meanwhile.

        Raises:
            Refusal: There is none of that name or version (404), or it is not ready (503).
        """
        ...

    def index(self) -> Sequence[ModelState]:
        """Every model that the repository knows, loaded or not, in the order of their names."""
        ...

    def load(self, name: str, *, by: str = "") -> None:
        """Load a model, or swap it for what lies there now; returns when it serves.

        Args:
            name: Of the model.
            by: Who asked for it, for the audit log.

        Raises:
            Refusal: There is none of that name (404).
            TinsmithError: It was refused, and whatever served before goes on.
        """
        ...

    def unload(self, name: str, *, by: str = "") -> None:
        """Stop serving a model, once the requests that it has are answered; raises ``Refusal`` as ``load``."""
        ...

    @property
    def ready(self) -> bool:
        """Whether every model that the server was started with serves."""
        ...


class Watcher(Protocol):
    """Sees what a served model is asked and answers, such as a drift monitor; must be quick, and never raises."""

    def saw(self, feeds: Feeds, outputs: Feeds) -> None:
        """One request: arrays in the stored dtypes, with the batch axis."""
        ...
