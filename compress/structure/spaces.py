"""Groups of channels among which can be chosen, and what each costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from tinsmith.compress.structure.coupling import Channels, Coupling

    Atoms = NDArray[np.int64]

__all__ = ["Costs", "Space", "spaces_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Channels that the same layers make together: of one convolution, or of all whose outputs are added up.

    Attributes:
        makers: Names of the layers.
        roots: One a channel; see ``Coupling.roots``.
        per_root: Channels that one root stands for: as many as a head of an attention has, else 1.
    """

    makers: tuple[str, ...]
    roots: tuple[int, ...]
    per_root: int = 1

    @property
    def name(self) -> str:
        """For reports."""
        return " + ".join(self.makers)

    def nearest(self, wanted: float, multiple: int) -> int:
        """How many roots may stay: a multiple of so many channels, or all; of two as near, the larger."""
        step, whole = self._step(multiple), len(self.roots)
        lower = max(math.floor(wanted / step), 1) * step
        near = [min(lower, whole), min(lower + step, whole)]
        return min(near, key=lambda width: (abs(width - wanted), -width))

    def wider(self, stay: int, multiple: int) -> int:
        """The next larger number of roots that may stay; all at most."""
        step = self._step(multiple)
        return min((stay // step + 1) * step, len(self.roots))

    def _step(self, multiple: int) -> int:
        """The fewest roots that are a multiple of so many channels."""
        return multiple // math.gcd(multiple, self.per_root)


def spaces_of(coupling: Coupling) -> tuple[Space, ...]:
    """All channels that may go, grouped by who makes them."""
    makers: dict[int, list[str]] = {}
    for name, channels in coupling.layers.items():
        for root in coupling.roots(_made(channels)):
            if root not in coupling.frozen and name not in makers.setdefault(int(root), []):
                makers[int(root)].append(name)
    grouped: dict[tuple[str, ...], list[int]] = {}
    for root, names in sorted(makers.items()):
        grouped.setdefault(tuple(names), []).append(root)
    return tuple(
        Space(makers=names, roots=tuple(roots), per_root=_per_root(coupling, names))
        for names, roots in grouped.items()
        if names
    )


def _per_root(coupling: Coupling, makers: tuple[str, ...]) -> int:
    """The channels of a head that all its parts have room for in common; 1 where there are no heads."""
    configs = [coupling.layers[name].layer.get_config() for name in makers if len(coupling.layers[name].heads)]
    widths = [config.get(part) or config["key_dim"] for config in configs for part in ("key_dim", "value_dim")]
    return math.gcd(*widths) or 1


def _made(channels: Channels) -> Atoms:
    """The channels that a layer makes itself, rather than hands on."""
    if len(channels.heads):
        return channels.heads
    # a depthwise convolution has filters too, of None
    makes = any(getattr(channels.layer, count, None) for count in ("filters", "units"))
    return channels.given if makes else channels.heads


class Costs:
    """Multiply-accumulates of a model without some of its channels, without building it.

    Args:
        coupling: Of the model's channels.
    """

    def __init__(self, coupling: Coupling) -> None:
        self._atoms = coupling.size
        self._terms = [term for channels in coupling.layers.values() for term in _terms(coupling, channels)]

    def macs(self, dropped: Collection[int]) -> int:
        """For one sample; free axes count as 1."""
        stays = np.ones(self._atoms, dtype=bool)
        stays[list(dropped)] = False
        return sum(round(each * math.prod(int(stays[axis].sum()) for axis in axes)) for each, axes in self._terms)


def _terms(coupling: Coupling, channels: Channels) -> list[tuple[float, tuple[Atoms, ...]]]:
    """Products of channel counts, each with its factor."""
    layer = channels.layer
    taken, given, heads = (coupling.roots(a) for a in (channels.taken, channels.given, channels.heads))
    output = layer.get_output_at(0)
    shape = tuple((output[0] if isinstance(output, list | tuple) else output).shape)
    positions = math.prod(n or 1 for n in shape[1:-1])
    kind = type(layer).__name__
    if kind == "MultiHeadAttention":
        config = layer.get_config()
        width = config["key_dim"] + (config["value_dim"] or config["key_dim"])
        each = positions * width * (2 * len(taken) + positions)
        return [(each, (heads,))] if len(heads) else [(each * config["num_heads"], ())]
    window = math.prod(getattr(layer, "kernel_size", (1,)))
    if kind.startswith("Depthwise"):
        return [(positions * window, (taken,))]
    if kind.startswith("Separable"):
        return [(positions * window, (taken,)), (positions, (taken, given))]
    if kind == "Conv2DTranspose":
        into = layer.get_input_shape_at(0)
        return [(math.prod(n or 1 for n in into[1:-1]) * window, (taken, given))]
    return [(positions * window, (taken, given))] if hasattr(layer, "kernel") else []
