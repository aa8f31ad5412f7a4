"""How many channels each space gives up."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import BudgetMissedError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tinsmith.compress.structure.spaces import Costs, Space

__all__ = ["by_macs", "by_ratio", "by_sensitivity", "by_widths"]

_SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)


def by_ratio(spaces: Sequence[Space], scores: Mapping[int, float], share: float, multiple: int = 1) -> set[int]:
    """Drop the same share of each space, the least important channels first.

    Args:
        spaces: Channels to choose among.
        scores: Order within a space.
        share: Of the channels that go, above 0 and below 1.
        multiple: Those that stay come in multiples of it, as near to the share as can be; a space that has no more of
            them stays whole.
    """
    return {root for space in spaces for root in _least(space, scores, share, multiple)}


def by_widths(spaces: Sequence[Space], scores: Mapping[int, float], widths: Mapping[str, int]) -> set[int]:
    """Leave as many channels as somebody has chosen, the most important ones.

    Args:
        spaces: Channels to choose among.
        scores: Order within a space.
        widths: Channels that stay, by the name of any layer that makes them.

    Raises:
        RecipeError: A layer has no channels to give, has fewer, or shares them with one of which another number is
            wanted; or heads of an attention can't make that number.
    """
    by_maker = {maker: space for space in spaces for maker in space.makers}
    if unknown := sorted(widths.keys() - by_maker.keys()):
        raise RecipeError(
            f"no channels of {', '.join(unknown)} can go; they can of {', '.join(sorted(by_maker))}",
            hint="`tinsmith inspect MODEL` lists the layers",
        )
    dropped: set[int] = set()
    for space in spaces:
        wanted = {widths[maker] for maker in space.makers if maker in widths}
        if wanted:
            dropped |= _all_but(space, scores, _roots_for(space, wanted))
    return dropped


def _roots_for(space: Space, wanted: set[int]) -> int:
    if len(wanted) > 1:
        raise RecipeError(
            f"{space.name} have the same channels, and {' and '.join(map(str, sorted(wanted)))} of them are wanted",
            hint="give one number for them",
        )
    channels = wanted.pop()
    most = len(space.roots) * space.per_root
    if channels > most or channels % space.per_root:
        steps = f" in steps of {space.per_root}" if space.per_root > 1 else ""
        raise RecipeError(f"{channels} channels of {space.name} can't stay: it has {most}{steps}")
    return channels // space.per_root


def by_macs(
    spaces: Sequence[Space], scores: Mapping[int, float], costs: Costs, macs: float, multiple: int = 1
) -> set[int]:
    """Drop as small a share of each space as brings the model to ``macs`` of its multiply-accumulates.

    What rounding to multiples leaves of the budget goes back to the spaces that gave the largest share.

    Raises:
        BudgetMissedError: Not even the fewest channels a space are cheap enough.
    """
    wanted = macs * costs.macs(())

    def dropped(thousandth: int) -> set[int]:
        return by_ratio(spaces, scores, thousandth / 1000, multiple)

    enough = bisect_left(range(1000), True, key=lambda thousandth: costs.macs(dropped(thousandth)) <= wanted)
    if enough == 1000:
        raise _unreachable(costs, dropped(999), macs, multiple)
    return _refilled(spaces, scores, costs, wanted, dropped(enough), multiple)


def _refilled(
    spaces: Sequence[Space],
    scores: Mapping[int, float],
    costs: Costs,
    wanted: float,
    dropped: set[int],
    multiple: int,
) -> set[int]:
    """Widen one space after another by one multiple, as long as the budget lasts."""
    for space in sorted(spaces, key=lambda space: -len(dropped.intersection(space.roots)) / len(space.roots)):
        stay = len(space.roots) - len(dropped.intersection(space.roots))
        fuller = dropped.difference(space.roots) | _all_but(space, scores, space.wider(stay, multiple))
        if costs.macs(fuller) <= wanted:
            dropped = fuller
    return dropped


def by_sensitivity(
    spaces: Sequence[Space],
    scores: Mapping[int, float],
    costs: Costs,
    macs: float,
    harm: Callable[[set[int]], float],
    multiple: int = 1,
) -> set[int]:
    """Drop channels where measuring shows that it harms least for what it saves.

    Args:
        spaces: Channels to choose among.
        scores: Order within a space.
        costs: Of the model.
        macs: Share of the multiply-accumulates to reach.
        harm: Measures what dropping some channels does to the answers, without any training; more is worse.
        multiple: Channels that stay come in multiples of it.

    Raises:
        BudgetMissedError: Not even the fewest channels a space are cheap enough.
    """
    wanted = macs * costs.macs(())
    climb = _Climb([_ladder(space, scores, harm, multiple) for space in spaces], costs)
    while climb.macs > wanted:
        further = climb.rungs_above()
        if not further:
            raise _unreachable(costs, climb.dropped(), macs, multiple)
        climb.move(min(further, key=climb.price))
    # the last rung may have saved more than there was to save
    while spared := [move for move in climb.rungs_below() if climb.macs_after(move) <= wanted]:
        climb.move(max(spared, key=climb.price))
    return climb.dropped()


class _Climb:
    """Where the choice stands on each space's ladder; a move is a ladder and a rung on it.

    Far rungs count as well as near ones, because harm does not grow evenly: what is cheapest for the way to a far
    rung may be dear for its first step (the convex hull of Shoham & Gersho 1988).
    """

    def __init__(self, ladders: Sequence[Sequence[tuple[set[int], float]]], costs: Costs) -> None:
        self._ladders, self._costs = ladders, costs
        self._rungs = [0] * len(ladders)
        self.macs = costs.macs(())

    def dropped(self) -> set[int]:
        """All channels that go."""
        return self._dropped_on(self._rungs)

    def rungs_above(self) -> list[tuple[int, int]]:
        """Moves that drop more."""
        return [
            (at, rung) for at, ladder in enumerate(self._ladders) for rung in range(self._rungs[at] + 1, len(ladder))
        ]

    def rungs_below(self) -> list[tuple[int, int]]:
        """Moves that drop less."""
        return [(at, rung) for at, now in enumerate(self._rungs) for rung in range(now)]

    def macs_after(self, move: tuple[int, int]) -> int:
        """What the model costs then."""
        at, rung = move
        return self._costs.macs(self._dropped_on([*self._rungs[:at], rung, *self._rungs[at + 1 :]]))

    def price(self, move: tuple[int, int]) -> float:
        """Harm a multiply-accumulate, on the way up as on the way down."""
        at, rung = move
        ladder, saved = self._ladders[at], abs(self.macs - self.macs_after(move))
        return abs(ladder[rung][1] - ladder[self._rungs[at]][1]) / max(saved, 1)

    def move(self, move: tuple[int, int]) -> None:
        """Stand on that rung."""
        self.macs = self.macs_after(move)
        self._rungs[move[0]] = move[1]

    def _dropped_on(self, rungs: Sequence[int]) -> set[int]:
        return {root for ladder, rung in zip(self._ladders, rungs, strict=True) for root in ladder[rung][0]}


def _ladder(
    space: Space, scores: Mapping[int, float], harm: Callable[[set[int]], float], multiple: int
) -> list[tuple[set[int], float]]:
    """Ever more channels of one space, with the harm that each measured; it never falls on the way up."""
    ladder: list[tuple[set[int], float]] = [(set(), 0.0)]
    for share in _SHARES:
        dropped = _least(space, scores, share, multiple)
        if len(dropped) > len(ladder[-1][0]):
            ladder.append((dropped, max(harm(dropped), ladder[-1][1])))
    return ladder


def _least(space: Space, scores: Mapping[int, float], share: float, multiple: int) -> set[int]:
    return _all_but(space, scores, space.nearest((1 - share) * len(space.roots), multiple))


def _all_but(space: Space, scores: Mapping[int, float], stay: int) -> set[int]:
    """The least important ones, so that so many stay."""
    return set(sorted(space.roots, key=lambda root: (scores.get(root, 0.0), root))[: len(space.roots) - stay])


def _unreachable(costs: Costs, dropped: set[int], macs: float, multiple: int) -> BudgetMissedError:
    least = costs.macs(dropped) / max(costs.macs(()), 1)
    fewest = "one channel" if multiple == 1 else f"{multiple} channels"
    return BudgetMissedError(
        f"{macs:.0%} of the multiply-accumulates can't be reached: with {fewest} left in each place, "
        f"{least:.0%} remain",
        hint="the rest is in layers that channels can't be taken from; give a larger budget"
        + ("" if multiple == 1 else ", or a smaller multiple"),
    )
