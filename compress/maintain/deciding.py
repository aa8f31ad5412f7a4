"""What is to be done about what monitors say: figures in, a decision with its reasons out. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.compress.maintain.results import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.compress.maintain.plan import ActOn, MaintenancePlan
    from tinsmith.compress.maintain.results import DeviceLook, Drifted, Observed
    from tinsmith.compress.maintain.rounds import Round

__all__ = ["decide", "is_slow"]

# Drift that was answered once stays: inputs are other ones by now. Half as far again is news.
_FURTHER = 1.5
_NAMED = 3


def decide(
    plan: MaintenancePlan, observed: Observed, *, newest: int, digest: str, earlier: Sequence[Round]
) -> Decision:
    """Decide what is to be done.

    Args:
        plan: What calls for a new bundle.
        observed: What monitors say.
        newest: The highest version that a bundle has had so far.
        digest: Names plan, recipe and model.
        earlier: Rounds that have ended, the newest last.
    """
    act_on, answered = plan.act_on, observed.answered
    drifting = tuple(look.device for look in answered if act_on.drift and look.drift == "drift")
    slow = tuple(look.device for look in answered if is_slow(look, act_on))
    calling = set(drifting) | set(slow)
    versions = [look.version for look in answered if look.version is not None]
    found = Decision(
        verdict="recompress" if calling and len(calling) >= act_on.share * len(answered) else "nothing",
        drifting=drifting,
        slow=slow,
        reasons=_reasons(act_on, answered, calling),
        version=max([newest, *versions]) + 1,
        drifted=_furthest([one for look in answered if look.device in drifting for one in look.drifted]),
    )
    return _unless_answered(found, digest, earlier) if found.verdict == "recompress" else found


def is_slow(look: DeviceLook, act_on: ActOn) -> bool:
    """Whether a device is slower than its bundle promises, or than the plan allows."""
    beyond = act_on.p95_ms is not None and look.p95_ms is not None and look.p95_ms > act_on.p95_ms
    return beyond or (act_on.slow and look.latency == "slow")


def _reasons(act_on: ActOn, answered: Sequence[DeviceLook], calling: set[str]) -> tuple[str, ...]:
    said = [_said(look, act_on) for look in answered if look.device in calling]
    if calling and len(calling) < act_on.share * len(answered):
        said.append(f"{len(calling)} of {len(answered)} call, and {act_on.share:.0%} are asked for")
    failing = [look for look in answered if look.errors == "errors"]
    said += [f"{look.device}: {look.faults} requests failed, which no new bundle by itself mends" for look in failing]
    waiting = [look.device for look in answered if look.drift in ("waiting", "no-reference")]
    if waiting:
        said.append(f"drift can't be judged yet on {', '.join(waiting)}: too few samples, or no reference")
    return tuple(said or [f"{len(answered)} monitors say that all is well"])


def _said(look: DeviceLook, act_on: ActOn) -> str:
    parts = []
    if act_on.drift and look.drift == "drift":
        named = "; ".join(_far(one) for one in look.drifted[:_NAMED])
        more = f"; and {len(look.drifted) - _NAMED} more" if len(look.drifted) > _NAMED else ""
        parts.append(f"drifts over {look.samples:,} samples ({named}{more})")
    if is_slow(look, act_on):
        figures = [f"{name} {ms:.3g} ms" for name, ms in (("p50", look.p50_ms), ("p95", look.p95_ms)) if ms is not None]
        bound = "" if act_on.p95_ms is None else f", p95 of {act_on.p95_ms:g} ms is allowed"
        parts.append(f"is slow ({', '.join(figures) or 'as its promise has it'}{bound})")
    return f"{look.device} {' and '.join(parts)}"


def _far(one: Drifted) -> str:
    return f"{one.name} {one.figure:.3g} over {one.threshold:.3g}"


def _furthest(found: list[Drifted]) -> tuple[Drifted, ...]:
    by_name: dict[str, Drifted] = {}
    for one in found:
        if one.name not in by_name or one.times > by_name[one.name].times:
            by_name[one.name] = one
    return tuple(sorted(by_name.values(), key=lambda one: -one.times))


def _unless_answered(found: Decision, digest: str, earlier: Sequence[Round]) -> Decision:
    """The same alarm by the same plan would end as it did; somebody has to look."""
    before = next((one for one in reversed(earlier) if one.decide and one.decide.verdict == "recompress"), None)
    if before is None or before.decide is None or before.ended is None or before.digest != digest:
        return found
    if before.ended.outcome == "given up" or not _same(found, before.decide):
        return found
    known = f"round {before.number} has answered the same, and was {before.ended.outcome}"
    wish = "what recalibration can't mend takes labels of new samples and training; --again does it all the same"
    return Decision(
        verdict="again",
        drifting=found.drifting,
        slow=found.slow,
        reasons=(*found.reasons, known, wish),
        version=found.version,
        drifted=found.drifted,
    )


def _same(now: Decision, before: Decision) -> bool:
    """Whether nothing is slow that was not, and nothing drifts that did not, or drifts much further."""
    was = {one.name: one.times for one in before.drifted}
    farther = (one for one in now.drifted if one.times > _FURTHER * was.get(one.name, 0.0))
    return bool(not now.slow or before.slow) and not any(farther)
