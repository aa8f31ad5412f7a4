"""What other commands have found out about an artifact, read from the JSON that they printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.bundle.manifest import Promise
from tinsmith.runtime.errors import DataError, first_line
from tinsmith.runtime.fields import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinsmith.runtime.artifact import Artifact
    from tinsmith.runtime.bundle.manifest import Settings

__all__ = ["Measured", "read_reports"]

_HINT = "give what `tinsmith evaluate` or `tinsmith benchmark` printed with --format json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What reports say of an artifact.

    Attributes:
        metrics: By name.
        promise: The latency that was measured on the device; says nothing where none was.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    promise: Promise = field(default_factory=Promise)


def read_reports(paths: Sequence[Path], artifact: Artifact, settings: Settings) -> Measured:
    """Read what was measured of one artifact; where two say the same thing, the later one counts.

    Args:
        paths: JSON documents.
        artifact: Which the reports must be about.
        settings: Of the bundle; a latency counts only where it was measured in the same way.

    Raises:
        DataError: One can't be read, is no such report, or is about something else.
    """
    metrics: dict[str, float] = {}
    promise = Promise()
    for path in paths:
        document = _document(path)
        try:
            if "evaluations" in document:
                metrics |= _scores(path, document["evaluations"], artifact)
            else:
                promise = _promise(path, document["measurements"], artifact, settings)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is no report of tinsmith's: {first_line(error)}", hint=_HINT) from error
    return Measured(metrics=metrics, promise=promise)


def _document(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the report {path}: {error.strerror}", hint="check the path") from error
    return parse_json(content, of=str(path))


def _scores(path: Path, evaluations: Sequence[Mapping[str, Any]], artifact: Artifact) -> dict[str, float]:
    """An evaluation names its model by its path."""
    for found in evaluations:
        if Path(found["model"]).name == artifact.path.name:
            scores = {found["metric"]: float(found["score"])}
            return scores if found.get("accuracy") is None else {**scores, "accuracy": float(found["accuracy"])}
    raise DataError(f"{path} does not say how good {artifact.path.name} is", hint=_HINT)


def _promise(path: Path, measurements: Sequence[Mapping[str, Any]], artifact: Artifact, settings: Settings) -> Promise:
    """A measurement names its artifact by the sha256."""
    wanted = {name: getattr(settings, name) for name in ("device", "engine", "accelerator", "threads")}
    for found in measurements:
        if found["artifact_sha256"] != artifact.sha256:
            continue
        if found.get("emulated"):
            raise DataError(
                f"{path} was measured on an emulated CPU, and the time of that is no device's latency",
                hint="measure it on a device, or state a latency with --promise",
            )
        # a bundle is made for a profile; the device has a name of the user's
        measured = {**{name: found[name] for name in wanted}, "device": found.get("profile", found["device"])}
        differs = [name for name, value in wanted.items() if measured[name] != value]
        if differs:
            said = ", ".join(f"{name} {measured[name]}" for name in differs)
            meant = ", ".join(f"{name} {wanted[name]}" for name in differs)
            raise DataError(
                f"{path} was measured with {said}, and the bundle is for {meant}",
                hint="measure it as it will be served, or state a latency with --promise",
            )
        source = f"measured on {settings.device}: {found['engine']} {found['engine_version']}"
        return Promise(p50_ms=_number(found["p50_ms"]), p90_ms=_number(found["p90_ms"]), source=source)
    raise DataError(f"{path} does not say how fast {artifact.path.name} is: its sha256 is another", hint=_HINT)


def _number(value: Any) -> float | None:
    """Null where there were too few runs to say it."""
    return None if value is None else float(value)
