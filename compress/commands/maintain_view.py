"""How ``tinsmith maintain`` shows a round, to people and machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.compress.maintain.rounds import STEPS
from tinsmith.compress.maintain.telling import told
from tinsmith.runtime.commands.output import facts, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from tinsmith.compress.maintain.maintaining import Maintenance
    from tinsmith.compress.maintain.results import DeviceLook, Rolled
    from tinsmith.compress.maintain.rounds import Round

__all__ = ["Ahead", "foretold", "preview_view", "round_document", "round_view"]

_LOOKS = ["device", "version", "drift", "samples", "latency", "p50 ms", "p95 ms", "errors", "captured", "furthest"]


def round_document(now: Round) -> dict[str, Any]:
    """A round, for machines: every step that is done, with its figures."""
    done = {step: asdict(result) for step in STEPS if (result := getattr(now, step)) is not None}
    ended = now.ended or now.end
    return {
        "round": now.number,
        "outcome": None if ended is None else ended.outcome,
        "said": "" if ended is None else ended.said,
        "next": now.next_step,
        "steps": done,
    }


def round_view(now: Round) -> list[RenderableType | str]:
    """What the monitors said, what each step did, and how it ended."""
    view = _looks(now)
    shown = [(step, told(result)) for step in STEPS if (result := getattr(now, step)) is not None]
    view.append(facts(shown))
    for rolled in (now.canary, now.waves, now.rollback):
        view += _turns(rolled)
    ended = now.ended or now.end
    return [*view, f"round {now.number}: {ended.outcome}: {ended.said}" if ended else f"round {now.number} goes on"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A step that is not done.

    Attributes:
        step: Its name.
        would: What it is going to do.
    """

    step: str
    would: str


def foretold(loop: Maintenance, now: Round) -> tuple[Ahead, ...]:
    """The steps that are ahead; none where the round is at its end."""
    if now.next_step is None:
        return ()
    ahead = STEPS[STEPS.index(now.next_step) : -1] if now.next_step != "rollback" else ("rollback",)
    return tuple(Ahead(step=step, would=loop.foretell(step, now)) for step in ahead)


def preview_view(now: Round, ahead: Sequence[Ahead]) -> list[RenderableType | str]:
    """What is, and what would be done."""
    view = _looks(now)
    if now.decide is not None:
        view.append(told(now.decide))
    if now.collect is not None:
        view.append(f"round {now.number} stands before {now.next_step}, by what its monitors said then")
    if ahead:
        view.append(facts([(one.step, one.would) for one in ahead]))
    return [*view, "this was a dry run: nothing was done"]


def _looks(now: Round) -> list[RenderableType | str]:
    looks = () if now.observe is None else now.observe.devices
    return [table(_LOOKS, [_look(look) for look in looks])] if looks else []


def _look(look: DeviceLook) -> list[object]:
    if look.error:
        return [look.device, look.version, *[None] * 7, look.error]
    drift = look.drift if look.drift != "no-reference" else "-"
    latency = look.latency if look.latency != "no-promise" else "-"
    furthest = f"{look.drifted[0].times:.1f} times" if look.drifted else None
    return [
        look.device, look.version, drift, look.samples, latency, look.p50_ms, look.p95_ms, look.errors, look.captured,
        furthest,
    ]  # fmt: skip


def _turns(rolled: Rolled | None) -> list[RenderableType | str]:
    if rolled is None or not rolled.devices:
        return []
    rows = [[turn.device, turn.result, turn.version, turn.error] for turn in rolled.devices]
    return [table(["device", "result", "version", "reason"], rows)]
