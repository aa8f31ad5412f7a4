"""How a rollout goes on, on stderr, and what came of it, as people and machines see it."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from tinsmith.devices.commands.flash_view import bundled_said
from tinsmith.devices.fleet.outcome import DONE, FAILED, LATER, NOT_STARTED, ROLLED_BACK, UNCHANGED
from tinsmith.runtime.bundle.naming import short_id
from tinsmith.runtime.commands.output import console, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from typing_extensions import Self

    from tinsmith.devices.fleet.journal import Record
    from tinsmith.devices.fleet.outcome import Outcome
    from tinsmith.devices.fleet.plan import Plan
    from tinsmith.devices.fleet.preview import Preview
    from tinsmith.devices.fleet.rollout import Result
    from tinsmith.devices.fleet.waves import Wave
    from tinsmith.runtime.errors import TinsmithError

__all__ = ["RolloutLine", "preview_document", "preview_view", "result_document", "result_view", "rollouts_document",
           "rollouts_view"]  # fmt: skip

_RESULTS = (DONE, UNCHANGED, FAILED, ROLLED_BACK, LATER, NOT_STARTED)
_FORMS = {"whole": "as it is", "lzma": "packed", "bsdiff": "as a patch"}
_THERE = {"active": "serves it already", "slot": "all of it is there", "parts": "all of it is there"}


class RolloutLine:
    """One line on stderr with the wave and its counts; silent under ``-q`` and where nobody looks."""

    def __init__(self) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        loud = logging.getLogger("tinsmith").isEnabledFor(logging.INFO)
        screen = console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=screen, transient=True, disable=not (loud and screen.is_terminal),
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None)
        self._title, self._left, self._under_way = "", 0, 0
        self._ended: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._progress.stop()
        if kind is KeyboardInterrupt:
            logging.getLogger("tinsmith").info("what was under way is asked again by: tinsmith flash --resume")

    def wave(self, wave: Wave) -> None:
        """See ``RolloutWatching``."""
        self._title, self._left, self._under_way = wave.title, len(wave.devices), 0
        self._ended.clear()
        self._show()

    def started(self, device: str) -> None:
        """See ``RolloutWatching``."""
        del device
        self._left -= 1
        self._under_way += 1
        self._show()

    def ended(self, outcome: Outcome) -> None:
        """See ``RolloutWatching``."""
        self._under_way -= 1
        self._ended[outcome.result] += 1
        self._show()

    def _show(self) -> None:
        counts = {**_counted(self._ended), "under way": self._under_way, "to go": self._left}
        said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        self._progress.update(self._task, description=f"{self._title}: {said}")


def result_document(result: Result) -> dict[str, Any]:
    """A rollout, for machines."""
    proofs = [outcome.deployment for outcome in result.outcomes if outcome.deployment is not None]
    return {
        "bundle": str(result.cargo.path),
        "sha256": result.cargo.sha256,
        "rollout": result.rollout,
        "stopped": result.stopped,
        "devices": [outcome.to_json() for outcome in result.outcomes],
        "deployments": [proof.to_json() for proof in proofs],
    }


def result_view(result: Result) -> list[RenderableType | str]:
    """One table of all devices, then how many of each there are and what to do next."""
    cargo = result.cargo
    rows = [_row(outcome) for outcome in result.outcomes]
    return [
        f"rollout {result.rollout}: version {cargo.version} of {cargo.name} ({short_id(cargo.sha256)})",
        table(["device", "result", "version", "sent", "took", "reason"], rows),
        *_closing(result),
    ]


def _row(outcome: Outcome) -> list[object]:
    sent = f"{outcome.sent.size_bytes:,}" if outcome.serves else "-"
    took = f"{outcome.took_s:.1f} s" if outcome.result != NOT_STARTED else "-"
    return [outcome.device, outcome.result, outcome.version, sent, took, _reason(outcome.device, outcome.error)]


def _reason(device: str, error: TinsmithError | None) -> str:
    """What went wrong, without the name that stands at the beginning of the row."""
    return "" if error is None else error.message.removeprefix(f"{device}: ")


def _closing(result: Result) -> list[RenderableType | str]:
    counts = _counted(Counter(outcome.result for outcome in result.outcomes))
    lines = [", ".join(f"{count} {word}" for word, count in counts.items())]
    if result.stopped:
        lines.append(f"stopped: {result.stopped}")
    hints = {outcome.error.hint: outcome.device for outcome in reversed(result.outcomes) if outcome.error is not None}
    lines.extend(f"{device}: {hint}" for hint, device in reversed(hints.items()) if hint)
    if not all(outcome.serves for outcome in result.outcomes):
        lines.append(f"go on with the rest: tinsmith flash --resume {result.rollout}")
    return [*lines]


def _counted(found: Counter[str]) -> dict[str, int]:
    return {word: found[word] for word in _RESULTS if found[word]}


def preview_document(plan: Plan, found: Sequence[Preview]) -> dict[str, Any]:
    """What would be sent, for machines."""
    waves = [{"title": wave.title, "devices": list(wave.devices)} for wave in plan.waves]
    return {
        "bundle": str(plan.cargo.path),
        "sha256": plan.cargo.sha256,
        "waves": waves,
        "devices": [one.to_json() for one in found],
    }


def preview_view(plan: Plan, found: Sequence[Preview]) -> list[RenderableType | str]:
    """What would be sent to each device, and when."""
    waves = {device: wave.title for wave in plan.waves for device in wave.devices}
    several = len(found) > 1
    columns = ["device", *(["wave"] if several else []), "holds", "would be sent", "how"]
    rows = [
        [one.device.name, *([waves[one.device.name]] if several else []), _holds(one), *_would(one)] for one in found
    ]
    cargo = plan.cargo
    return [
        f"version {cargo.version} of {cargo.name} ({short_id(cargo.sha256)}); nothing was sent",
        table(columns, rows),
    ]


def _holds(one: Preview) -> str:
    if one.error is not None:
        return "-"
    return "nothing yet" if one.active is None else bundled_said(one.active)


def _would(one: Preview) -> tuple[str, str]:
    if one.sent is None:
        return "-", _reason(one.device.name, one.error)
    if one.there:
        return "0", _THERE[one.there]
    resumed = f"; {one.sent.resumed_bytes:,} are there" if one.sent.resumed_bytes else ""
    return f"{one.sent.size_bytes:,}", f"{_FORMS[one.sent.form]}{resumed}"


def rollouts_document(records: Sequence[Record]) -> dict[str, Any]:
    """All rollouts, for machines."""
    return {"rollouts": [_record(record) for record in records]}


def _record(record: Record) -> dict[str, Any]:
    cargo = record.plan.cargo
    return {
        "rollout": record.id,
        "at": record.at,
        "bundle": str(cargo.path),
        "sha256": cargo.sha256,
        "name": cargo.name,
        "version": cargo.version,
        "waves": [{"title": wave.title, "devices": list(wave.devices)} for wave in record.plan.waves],
        "devices": [record.outcomes[name].to_json() for name in record.plan.devices if name in record.outcomes],
        "left": record.left,
    }


def rollouts_view(records: Sequence[Record]) -> list[RenderableType | str]:
    """One rollout a row, oldest first."""
    if not records:
        return ["no rollouts yet: `tinsmith flash BUNDLE -d GROUP` begins one"]
    rows = [_rollout_row(record) for record in records]
    return [table(["rollout", "bundle", "version", "devices", "done", "failed", "to go"], rows)]


def _rollout_row(record: Record) -> list[object]:
    outcomes = record.outcomes.values()
    failed = sum(outcome.counts for outcome in outcomes)
    done, cargo = len(record.plan.devices) - record.left, record.plan.cargo
    return [record.id, cargo.name, cargo.version, len(record.plan.devices), done, failed, record.left - failed]
