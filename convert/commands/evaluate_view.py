"""``tinsmith evaluate --device``, as people and machines see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.runtime.commands.output import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from tinsmith.convert.elsewhere import DeviceEvaluation, ElsewhereEvaluation
    from tinsmith.convert.evaluation import Evaluation

__all__ = ["elsewhere_document", "elsewhere_view"]


def elsewhere_document(models: Sequence[Path], found: Sequence[ElsewhereEvaluation]) -> dict[str, Any]:
    """The document of ``--format json``."""
    return {
        "evaluations": [
            {
                "model": str(path),
                **one.here.to_json(),
                "engine": one.engine,
                "engine_version": one.engine_version,
                "devices": [device.to_json() for device in one.there],
            }
            for path, one in zip(models, found, strict=True)
        ]
    }


def elsewhere_view(models: Sequence[Path], found: Sequence[ElsewhereEvaluation]) -> list[RenderableType | str]:
    """A row an artifact and place, this machine first."""
    columns = ["model", "device", "engine", "samples", found[0].here.metric.name, "std. error", "others"]
    pairs = list(zip(models, found, strict=True))
    rows = [row for path, one in pairs for row in _rows(path, one)]
    return [
        table(columns, rows),
        f"on {found[0].here.data}; others: samples at which a device names another class than this machine",
        *(said for path, one in pairs for device in one.there for said in _about(path, one, device)),
    ]


def _rows(path: Path, one: ElsewhereEvaluation) -> Iterator[list[object]]:
    here = one.here
    yield [path.name, "here", f"{one.engine} {one.engine_version}", here.samples, here.metric.text(here.score),
           _error(here), ""]  # fmt: skip
    for device in one.there:
        found = device.evaluation
        score, error = ("-", "-") if found is None else (found.metric.text(found.score), _error(found))
        engine = f"{device.engine} {device.engine_version}".strip() or "-"
        others = "-" if device.other_answers is None else device.other_answers
        yield [path.name, device.device, engine, device.samples, score, error, others]


def _about(path: Path, one: ElsewhereEvaluation, device: DeviceEvaluation) -> Iterator[str]:
    name = f"{path.name} on {device.device}"
    if device.error is not None:
        hint = f" ({device.error.hint})" if device.error.hint else ""
        yield f"{name}: {device.samples} of {one.here.samples} samples answered: {device.error.message}{hint}"
    if not device.samples:
        return
    yield f"{name}: the numbers of {device.other_outputs} of {device.samples} samples differ from this machine's."
    if (device.engine, device.engine_version) != (one.engine, one.engine_version):
        yield f"{name}: its engine is another than here, whose answers may differ by a step."


def _error(found: Evaluation) -> str:
    return "-" if found.standard_error is None else f"± {found.metric.text(found.standard_error)}"
