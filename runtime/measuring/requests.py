"""What a host asks: whether an artifact is there; to measure it, to count its instructions, or to let it answer.

``{"schema": 1, "request": "measure", "path": "...", "sha256": "...", "runs": 130, "least_s": 1.0, ...}``
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from tinsmith.runtime.answering import read_request_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields

__all__ = ["FORMATS", "SCENARIOS", "Amount", "Answer", "Count", "Held", "Measure", "Opening", "Request", "read_request"]

_SCHEMA = 1
SCENARIOS = ("single-stream", "offline")
FORMATS = ("tflite", "onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much one process measures: until both of the leasts are reached, or the most is.

    Attributes:
        runs: Timed runs, at least 1.
        least_s: Seconds of timed runs.
        most_s: After so many seconds it is enough; one run is always made.
        warm_s: Seconds that the warm-up may take, steady or not.
        kept: Samples that are kept at most; where there would be more, evenly spread ones are.
    """

    runs: int
    least_s: float = 0.0
    most_s: float = 60.0
    warm_s: float = 2.0
    kept: int = 20_000

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From its document; raises ``DataError``."""
        seconds = {name: fields.number(name, least=0) for name in ("least_s", "most_s", "warm_s")}
        return cls(runs=fields.count("runs"), kept=fields.count("kept"), **seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How much of an artifact is there; one that is whole is put in its place, and old ones go.

    Attributes:
        sha256: Of the artifact.
        size_bytes: Of the artifact.
        format: ``tflite`` or ``onnx``.
    """

    name: ClassVar[str] = "held"
    sha256: str
    size_bytes: int
    format: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(
            sha256=fields.sha256("sha256"),
            size_bytes=fields.count("size_bytes"),
            format=fields.one_of("format", FORMATS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Measure an artifact in one process.

    Attributes:
        path: Of its file on the device; relative to BASE unless it begins with a slash.
        sha256: That it must have.
        amount: How much.
        engine: Its name; empty for the format's default.
        accelerator: ``cpu``, or names in the order to try them.
        threads: CPU threads.
        seed: Of the random input.
        scenario: ``single-stream`` times each run; ``offline`` is one query of all of them.
        operators: Whether to time each operator afterwards, where the engine tells.
        time_limit_s: For loading, and for any single run.
    """

    name: ClassVar[str] = "measure"
    path: str
    sha256: str
    amount: Amount
    engine: str = ""
    accelerator: str = "cpu"
    threads: int = 1
    seed: int = 0
    scenario: str = "single-stream"
    operators: bool = False
    time_limit_s: float = 60.0

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(
            path=fields.text("path"),
            sha256=fields.sha256("sha256"),
            amount=Amount.read(fields.table("amount")),
            engine=fields.word("engine"),
            accelerator=fields.text("accelerator"),
            threads=fields.count("threads"),
            seed=fields.count("seed", least=0),
            scenario=fields.one_of("scenario", SCENARIOS),
            operators=fields.flag("operators"),
            time_limit_s=fields.number("time_limit_s", least=0.1),
        )

    def at(self, path: str) -> Self:
        """The same of a file in another place."""
        return replace(self, path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Which artifact is opened, and how.

    Attributes:
        path: Of its file on the device; relative to BASE unless it begins with a slash.
        sha256: That it must have.
        engine: Its name; empty for the format's default.
        accelerator: ``cpu``, or names in the order to try them.
        threads: CPU threads.
        time_limit_s: For loading, and for any single run.
    """

    path: str
    sha256: str
    engine: str = ""
    accelerator: str = "cpu"
    threads: int = 1
    time_limit_s: float = 60.0

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From its document; raises ``DataError``."""
        return cls(
            path=fields.text("path"),
            sha256=fields.sha256("sha256"),
            engine=fields.word("engine"),
            accelerator=fields.text("accelerator"),
            threads=fields.count("threads"),
            time_limit_s=fields.number("time_limit_s", least=0.1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Count the instructions of an artifact's runs in one process.

    Attributes:
        opening: Which; the counter is one thread's, so with one thread.
        runs: Counted runs, at least 1.
        seed: Of the random input.
    """

    name: ClassVar[str] = "count"
    opening: Opening
    runs: int = 5
    seed: int = 0

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        opening = Opening.read(fields.table("opening"))
        return cls(opening=opening, runs=fields.count("runs"), seed=fields.count("seed", least=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Run samples through an artifact.

    Attributes:
        opening: Which.
        samples: A file on the device, seen from BASE: one message of ``tinsmith.runtime.wire``, its document with the
            names of its arrays, samples on axis 0. It is removed when they are answered.
        samples_sha256: That it must have.
        answers: Where the answers go, seen from BASE: a message of one array an output.
    """

    name: ClassVar[str] = "answer"
    opening: Opening
    samples: str
    samples_sha256: str
    answers: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(
            opening=Opening.read(fields.table("opening")),
            samples=fields.text("samples"),
            samples_sha256=fields.sha256("samples_sha256"),
            answers=fields.text("answers"),
        )


Request = Answer | Count | Held | Measure

_REQUESTS: dict[str, type[Request]] = {kind.name: kind for kind in (Answer, Count, Held, Measure)}


def read_request(content: bytes) -> Request:
    """Read a document.

    Raises:
        DataError: It is damaged, of a newer schema, or asks for something else.
    """
    return read_request_of(content, _REQUESTS, schema=_SCHEMA)
