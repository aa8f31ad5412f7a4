"""The drift reference of a bundle: compact histograms of inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Histogram", "Reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often values fell between edges.

    Attributes:
        edges: Rising, one more than there are bins; values below the first or above the last count in the end bins.
        counts: One a bin.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What went in and came out on the samples that the bundle was made with.

    Attributes:
        samples: How many.
        inputs: By the name of the tensor and of the statistic, such as ``image`` and ``mean``: one value a sample.
        outputs: The same, ``class`` for the answer among them where the output is a score a class.
    """

    samples: int
    inputs: Mapping[str, Mapping[str, Histogram]]
    outputs: Mapping[str, Mapping[str, Histogram]]

    def to_json(self) -> dict[str, Any]:
        """The form that stands in a bundle."""
        return {"samples": self.samples, "inputs": _written(self.inputs), "outputs": _written(self.outputs)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reference:
        """Read back what ``to_json`` wrote."""
        return cls(samples=data["samples"], inputs=_read(data["inputs"]), outputs=_read(data["outputs"]))


def _written(tensors: Mapping[str, Mapping[str, Histogram]]) -> dict[str, Any]:
    return {
        tensor: {name: {"edges": list(h.edges), "counts": list(h.counts)} for name, h in statistics.items()}
        for tensor, statistics in tensors.items()
    }


def _read(tensors: Mapping[str, Any]) -> dict[str, dict[str, Histogram]]:
    return {
        tensor: {name: Histogram(edges=tuple(h["edges"]), counts=tuple(h["counts"])) for name, h in statistics.items()}
        for tensor, statistics in tensors.items()
    }
