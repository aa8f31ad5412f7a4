"""The drift reference of a bundle: compact histograms of inputs and outputs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tinsmith.runtime.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Tensors = Mapping[str, Mapping[str, "Histogram"]]

__all__ = ["Histogram", "Reference", "Statistic"]


class Statistic(NamedTuple):
    """What is measured of each sample; a tuple, because every request looks some of them up.

    Attributes:
        side: ``inputs`` or ``outputs``.
        tensor: Its name.
        name: Of the figure, such as ``mean``; ``class`` is the one whose order says nothing.
    """

    side: str
    tensor: str
    name: str

    @property
    def nominal(self) -> bool:
        """Whether values are names, so that no value lies between two others."""
        return self.name == "class"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often values fell between edges.

    Attributes:
        edges: Finite and rising. Bin k holds ``edges[k - 1] <= value < edges[k]``; the first bin is open downward, the
            last one upward, and NaN counts in the last.
        counts: One a bin, which is one more than there are edges.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.edges) + 1:
            raise ModelLoadError(f"a drift reference has {len(self.counts)} counts for {len(self.edges)} edges")
        if not all(math.isfinite(edge) for edge in self.edges) or any(
            a >= b for a, b in itertools.pairwise(self.edges)
        ):
            raise ModelLoadError("a drift reference has edges that are not finite, or do not rise")
        if not all(isinstance(count, int) and count >= 0 for count in self.counts):
            raise ModelLoadError("a drift reference has counts that are no counts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What went in and came out on the samples that the bundle was made with.

    Attributes:
        samples: How many are counted in each histogram; of a very large set, an even draw.
        inputs: By the name of the tensor and of the statistic, such as ``image`` and ``mean``: one value a sample.
        outputs: The same, ``class`` for the answer among them where the output is a score a class.
    """

    samples: int
    inputs: Tensors
    outputs: Tensors

    def histograms(self) -> Iterator[tuple[Statistic, Histogram]]:
        """All of them, inputs first."""
        for side, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            for tensor, histograms in tensors.items():
                for name, histogram in histograms.items():
                    yield Statistic(side, tensor, name), histogram

    def to_json(self) -> dict[str, Any]:
        """The form that stands in a bundle."""
        return {"samples": self.samples, "inputs": _written(self.inputs), "outputs": _written(self.outputs)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reference:
        """Read back what ``to_json`` wrote.

        Raises:
            ModelLoadError: It is something else.
        """
        try:
            return cls(samples=int(data["samples"]), inputs=_read(data["inputs"]), outputs=_read(data["outputs"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelLoadError(f"the drift reference is damaged: {type(error).__name__} {error}") from error


def _written(tensors: Tensors) -> dict[str, Any]:
    return {
        tensor: {name: {"edges": list(h.edges), "counts": list(h.counts)} for name, h in statistics.items()}
        for tensor, statistics in tensors.items()
    }


def _read(tensors: Mapping[str, Any]) -> dict[str, dict[str, Histogram]]:
    return {
        tensor: {
            name: Histogram(edges=tuple(map(float, h["edges"])), counts=tuple(h["counts"]))
            for name, h in statistics.items()
        }
        for tensor, statistics in tensors.items()
    }
