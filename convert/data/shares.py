"""How samples are shared out among the splits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinsmith.convert.data.metadata import SPLITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinsmith.convert.data.metadata import Labels

__all__ = ["Shares", "share_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The share of each split, 0 to 1; they add up to 1.

    Attributes:
        train: To learn from.
        calibration: To find the ranges of activations on.
        validation: To choose among models on.
        test: To report on; none unless asked for, so that a test set of one's own is not cut.
    """

    NAMES: ClassVar[tuple[str, ...]] = SPLITS

    train: float = 0.8
    calibration: float = 0.05
    validation: float = 0.15
    test: float = 0.0

    def __post_init__(self) -> None:
        values = self.in_order
        if any(not 0 <= value <= 1 for value in values) or not math.isclose(sum(values), 1, abs_tol=1e-6):
            raise ValueError(f"shares are 0 to 1 and add up to 1, unlike {values}")

    @property
    def in_order(self) -> tuple[float, ...]:
        """In the order of the splits."""
        return tuple(getattr(self, name) for name in SPLITS)


def share_out(labels: Labels | None, digests: NDArray[np.bytes_], shares: Shares, seed: int) -> NDArray[np.int64]:
    """Put each sample into a split.

    Class after class, in an order that the seed shuffles, the next sample goes where most is lacking. So each split
    gets its share of all samples and of each class as nearly as whole samples allow; samples that are alike byte for
    byte go together, into the split of the first.

    Args:
        labels: One class number a sample; None takes all for one class.
        digests: Names each sample by its content.
        shares: Of the splits.
        seed: Of the choice.

    Returns:
        The place of each sample's split in ``SPLITS``, int64 [samples].
    """
    _, first, group, sizes = np.unique(digests, return_index=True, return_inverse=True, return_counts=True)
    classes = np.zeros(len(digests), dtype=np.int64) if labels is None else labels
    mixed = np.random.default_rng(seed).permutation(len(first))
    # np.unique sorts by digest; going by the first place instead keeps the choice from depending on it
    by_place = np.argsort(first, kind="stable")[mixed]
    order = by_place[np.argsort(classes[first[by_place]], kind="stable")]
    return _greedy(sizes, order, np.asarray(shares.in_order))[group.reshape(-1)]


def _greedy(sizes: NDArray[np.int64], order: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give each group to the split that lacks most; ties go to the first."""
    chosen = np.zeros(len(sizes), dtype=np.int64)
    given = np.zeros(len(shares))
    for group in order:
        lacking = shares * (given.sum() + sizes[group]) - given
        lacking[shares == 0] = -np.inf
        chosen[group] = int(np.argmax(np.round(lacking, 9)))
        given[chosen[group]] += sizes[group]
    return chosen
