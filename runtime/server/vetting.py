"""The trial of a model in a child process, before this one lets it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime.bundle.checking import check_golden
from tinsmith.runtime.server.batching import check_free_axes, check_independent

if TYPE_CHECKING:
    from tinsmith.runtime.server.serving import Limits, Servable

__all__ = ["Vet", "vet_in_child"]


class Vet(Protocol):
    """What decides whether a model is let in."""

    def __call__(self, servable: Servable, limits: Limits) -> None:
        """Return when it may be opened here; raise ``TinsmithError`` when not."""
        ...


def vet_in_child(servable: Servable, limits: Limits, *, time_limit_s: float = 60.0) -> None:
    """Open a model in a child process, run it on zeros and on its golden inputs, and on a batch where one is asked for.

    Args:
        servable: What to try.
        limits: Its.
        time_limit_s: For each answer of the child; a model that hangs costs so long, and no more.

    Raises:
        ModelLoadError: The engine refused it or died on it.
        ModelTimeoutError: It did not answer in time.
        VerificationError: Its golden inputs give other outputs here.
        UsageError: Batching is asked for, and it can't.
    """
    from tinsmith.runtime.sandbox import Sandbox

    with Sandbox(time_limit_s=time_limit_s) as sandbox:
        opened = sandbox.open(
            servable.path, engine=servable.engine, accelerator=servable.accelerator, threads=servable.threads
        )
        if servable.golden is not None:
            check_golden(servable.golden, sandbox.run_raw, opened.inputs, engine=opened.engine)
        if limits.max_batch > 1:
            check_free_axes(opened.inputs, opened.outputs)
            check_independent(sandbox.run_raw, opened.inputs)
