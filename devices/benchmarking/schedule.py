"""In which order models and devices take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["interleaved"]

_T = TypeVar("_T")


def interleaved(subjects: Sequence[_T], rounds: int) -> Iterator[tuple[int, _T]]:
    """Every subject once a round, forwards and backwards in turn: A B B A A B ….

    What drifts while all are measured, such as temperature or a neighbour's load, then falls on all alike.

    Yields:
        The round, from 0, and the subject.
    """
    for number in range(rounds):
        order = subjects if number % 2 == 0 else tuple(reversed(subjects))
        for subject in order:
            yield number, subject
