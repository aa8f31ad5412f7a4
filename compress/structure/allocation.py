"""How many channels each space gives up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.errors import BudgetMissedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tinsmith.compress.structure.spaces import Costs, Space

__all__ = ["by_macs", "by_ratio", "by_sensitivity"]

_SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)


def by_ratio(spaces: Sequence[Space], scores: Mapping[int, float], share: float) -> set[int]:
    """Drop the same share of each space, the least important channels first; one at least stays."""
    return {root for space in spaces for root in _least(space, scores, share)}


def by_macs(spaces: Sequence[Space], scores: Mapping[int, float], costs: Costs, macs: float) -> set[int]:
    """Drop as small a share of each space as brings the model to ``macs`` of its multiply-accumulates.

    Raises:
        BudgetMissedError: Not even one channel a space is cheap enough.
    """
    wanted = macs * costs.macs(())
    for thousandth in range(1000):
        dropped = by_ratio(spaces, scores, thousandth / 1000)
        if costs.macs(dropped) <= wanted:
            return dropped
    raise _unreachable(costs, by_ratio(spaces, scores, 0.999), macs)


def by_sensitivity(
    spaces: Sequence[Space],
    scores: Mapping[int, float],
    costs: Costs,
    macs: float,
    harm: Callable[[set[int]], float],
) -> set[int]:
    """Drop channels where measuring shows that it harms least for what it saves.

    Args:
        spaces: Channels to choose among.
        scores: Order within a space.
        costs: Of the model.
        macs: Share of the multiply-accumulates to reach.
        harm: Measures what dropping some channels does to the answers, without any training; more is worse.

    Raises:
        BudgetMissedError: Not even one channel a space is cheap enough.
    """
    wanted = macs * costs.macs(())
    ladders = [_ladder(space, scores, harm) for space in spaces]
    rungs = [0] * len(spaces)

    def chosen() -> set[int]:
        return {root for ladder, rung in zip(ladders, rungs, strict=True) for root in ladder[rung][0]}

    while costs.macs(chosen()) > wanted:
        steps = [at for at, ladder in enumerate(ladders) if rungs[at] + 1 < len(ladder)]
        if not steps:
            raise _unreachable(costs, chosen(), macs)
        now = costs.macs(chosen())

        def price(at: int, now: int = now) -> float:
            ladder, rung = ladders[at], rungs[at]
            saved = now - costs.macs((chosen() - ladder[rung][0]) | ladder[rung + 1][0])
            return (ladder[rung + 1][1] - ladder[rung][1]) / max(saved, 1)

        rungs[min(steps, key=price)] += 1
    return chosen()


def _ladder(
    space: Space, scores: Mapping[int, float], harm: Callable[[set[int]], float]
) -> list[tuple[set[int], float]]:
    """Ever more channels of one space, with the harm that each measured; it never falls on the way up."""
    ladder: list[tuple[set[int], float]] = [(set(), 0.0)]
    for share in _SHARES:
        dropped = _least(space, scores, share)
        if len(dropped) > len(ladder[-1][0]):
            ladder.append((dropped, max(harm(dropped), ladder[-1][1])))
    return ladder


def _least(space: Space, scores: Mapping[int, float], share: float) -> set[int]:
    count = min(round(share * len(space.roots)), len(space.roots) - 1)
    return set(sorted(space.roots, key=lambda root: (scores.get(root, 0.0), root))[:count])


def _unreachable(costs: Costs, dropped: set[int], macs: float) -> BudgetMissedError:
    least = costs.macs(dropped) / max(costs.macs(()), 1)
    return BudgetMissedError(
        f"{macs:.0%} of the multiply-accumulates can't be reached: with one channel left in each place, "
        f"{least:.0%} remain",
        hint="the rest is in layers that channels can't be taken from; give a larger budget",
    )
