"""Samples through an artifact on the device, so that a host can judge the answers by the code that judges its own."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import DataError, VerificationError
from tinsmith.runtime.files import sha256_of, write_bytes
from tinsmith.runtime.measuring.measure import check_artifact
from tinsmith.runtime.predicting import SandboxedArtifact, run_samples
from tinsmith.runtime.sandbox import Sandbox
from tinsmith.runtime.wire import encode, read_message

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields
    from tinsmith.runtime.measuring.requests import Answer
    from tinsmith.runtime.stages import Stages

__all__ = ["Answered", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What has answered.

    Attributes:
        engine: Its name.
        engine_version: Of its package.
        sha256: Of the file of answers.
    """

    engine: str
    engine_version: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """The answer's fields."""
        return asdict(self)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From the answer; raises ``DataError``."""
        engine, version = fields.text("engine"), fields.text("engine_version")
        return cls(engine=engine, engine_version=version, sha256=fields.sha256("sha256"))


def answer(base: Path, request: Answer, stages: Stages) -> Answered:
    """Run samples that have come, and write what the artifact answers.

    Args:
        base: What the request's paths are seen from.
        request: Which samples, and where the answers go.
        stages: Says afterwards in which stage it failed.

    Raises:
        VerificationError: The artifact or the samples are others than were meant.
        OutputError: The answers can't be written.
        TinsmithError: As ``measure`` and ``run_samples``.
    """
    opening = request.opening
    path, answers = base / opening.path, base / request.answers
    sandbox = Sandbox(time_limit_s=opening.time_limit_s)  # its imports overlap with the hashes
    try:
        with stages.at("checking"):
            check_artifact(path, opening.sha256)
            feeds = _samples(base / request.samples, request.samples_sha256)
        with stages.at("loading"):
            model = SandboxedArtifact(
                path, sandbox, engine=opening.engine or None, accelerator=opening.accelerator, threads=opening.threads
            )
        with stages.at("answering"):
            outputs = run_samples(model, feeds)
    finally:
        sandbox.close()
    with stages.at("writing"):
        write_bytes(answers, encode({}, outputs))
        (base / request.samples).unlink(missing_ok=True)
    opened = sandbox.opened
    return Answered(engine=opened.engine, engine_version=opened.version, sha256=sha256_of(answers))


def _samples(path: Path, sha256: str) -> dict[str, NDArray[np.generic]]:
    """A disk that was full may have the size of the file and none of its content, so the hash comes first."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="run the same command again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise VerificationError(f"{path} is not what was sent: its sha256 differs", hint="run the same command again")
    document, arrays = read_message(io.BytesIO(content).read)
    return dict(zip(document["names"], arrays, strict=True))
