"""What goes into the search for dead channels, and what comes out, whatever the format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.convert.inspection import ArtifactInspection, inspect_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tinsmith.compress.dead_channels.analysis import Removal

__all__ = ["Limits", "Outcome", "Size", "artifact_sizes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is assumed and what is allowed.

    Attributes:
        bound: The most that the sum of all output channels may move by, in exact arithmetic.
        largest_input: No number that goes into the model is larger in magnitude.
    """

    bound: float
    largest_input: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a model costs, before and after.

    Attributes:
        parameters_before: Numbers that were trained.
        parameters_after: The same.
        macs_before: Multiply-accumulates for one sample.
        macs_after: The same.
    """

    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was found, and what it saved.

    Attributes:
        removal: What went.
        not_followed: Why channels around an operator were kept, by its name.
        size: Of the model.
    """

    removal: Removal
    not_followed: Mapping[str, str]
    size: Size


def artifact_sizes(before: Path, after: Path) -> Size:
    """Of two files; raises ``ModelLoadError`` for damaged ones."""
    one, other = inspect_model(before), inspect_model(after)
    assert isinstance(one, ArtifactInspection)
    assert isinstance(other, ArtifactInspection)
    return Size(
        parameters_before=one.weights.parameters,
        parameters_after=other.weights.parameters,
        macs_before=one.macs,
        macs_after=other.macs,
    )
