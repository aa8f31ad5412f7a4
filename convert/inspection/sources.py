"""Where a tensor's numbers come from, behind the operators that only unpack or reshape them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.convert.inspection.graph import Operator, Tensor

__all__ = ["UNPACKING", "Source", "trace"]

UNPACKING = frozenset({"DEQUANTIZE", "DequantizeLinear", "com.microsoft.DequantizeLinear"})
_CASTS = frozenset({"CAST", "Cast"})
_RESHAPES = frozenset({"RESHAPE", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"})
_TURNS = frozenset({"TRANSPOSE", "Transpose"})
_LONGEST_CHAIN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A tensor, and what stands between it and its reader.

    Attributes:
        tensor: What is stored or computed first.
        unpacking: The operator that turns it into real numbers; None where none does.
        cast: Whether it is cast to another type on the way.
        turned: Whether its axes are put in another order on the way.
    """

    tensor: Tensor
    unpacking: Operator | None = None
    cast: bool = False
    turned: bool = False

    @property
    def dtype(self) -> str:
        """The stored type; that of its zero point where the file says no other."""
        point = self.unpacking.input(2) if self.unpacking else None
        return self.tensor.dtype or (point.dtype if point else "")


def trace(tensor: Tensor, producers: Mapping[int, Operator]) -> Source:
    """Follow a tensor back to the constant behind it, or else to the value before it was unpacked.

    Only a constant may lie behind a cast or a new shape: what an engine computes by such operators is computed.
    """
    at, unpacking, cast, turned = tensor, None, False, False
    for _ in range(_LONGEST_CHAIN):
        producer = producers.get(id(at))
        before = producer.input(0) if producer else None
        if at.stored is not None or producer is None or before is None:
            break
        if producer.name in UNPACKING:
            unpacking = producer
        elif producer.name not in _CASTS | _RESHAPES | _TURNS:
            break
        cast, turned = cast or producer.name in _CASTS, turned or producer.name in _TURNS
        at = before
    if at.stored is not None:
        return Source(tensor=at, unpacking=unpacking, cast=cast, turned=turned)
    return _unpacked(tensor, producers)


def _unpacked(tensor: Tensor, producers: Mapping[int, Operator]) -> Source:
    """One step back, where that step unpacks."""
    producer = producers.get(id(tensor))
    before = producer.input(0) if producer else None
    if producer is None or before is None or producer.name not in UNPACKING:
        return Source(tensor=tensor)
    return Source(tensor=before, unpacking=producer)
