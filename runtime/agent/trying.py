"""The first load of a bundle on the device, in a child process, and its golden inputs on the device's own engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.runtime.bundle.golden import Golden
    from tinsmith.runtime.bundle.manifest import Settings
    from tinsmith.runtime.stages import Stages

__all__ = ["Candidate", "Tried", "Try", "try_in_child"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is to be tried.

    Attributes:
        path: Of the artifact, in the clear.
        settings: How it is meant to be run.
        golden: What it must answer; None where the bundle does not say.
        time_limit_s: For each answer of the child.
    """

    path: Path
    settings: Settings
    golden: Golden | None
    time_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A candidate that may be served.

    Attributes:
        engine: That ran it.
        version: Of the engine's package.
        golden: What the golden check found, for people; empty where there was nothing to check.
    """

    engine: str
    version: str
    golden: str = ""


class Try(Protocol):
    """What decides whether a bundle may be served here."""

    def __call__(self, candidate: Candidate, stages: Stages) -> Tried:
        """Return when it may; raise ``TinsmithError`` when not."""
        ...


def try_in_child(candidate: Candidate, stages: Stages) -> Tried:
    """Load an artifact in a child process, run it on zeros and on its golden inputs.

    Raises:
        ModelLoadError: The engine refused it or died on it.
        ModelTimeoutError: It did not answer in time.
        MissingDependencyError: The engine is not installed.
        VerificationError: Its golden inputs give other outputs here.
    """
    from tinsmith.runtime.bundle.checking import check_golden
    from tinsmith.runtime.sandbox import Sandbox

    settings = candidate.settings
    with Sandbox(time_limit_s=candidate.time_limit_s) as sandbox:
        with stages.at("load"):
            opened = sandbox.open(
                candidate.path, engine=settings.engine, accelerator=settings.accelerator, threads=settings.threads
            )
        tried = Tried(engine=opened.engine, version=opened.version)
        if candidate.golden is None:
            return tried
        with stages.at("golden"):
            check = check_golden(candidate.golden, sandbox.run_raw, opened.inputs, engine=opened.engine)
    return Tried(engine=opened.engine, version=opened.version, golden=f"{check.samples} samples; {check.said}")
