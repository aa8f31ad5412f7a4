"""Which layers add more error than their number format has to, and why.

What a layer adds is judged one operator later: there the next layer's weights have multiplied it, and an error that
drowns only small channels is as loud as those channels are important. Channels that say nothing are not heard at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.layers.report import Culprit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tinsmith.convert.layers.report import LayerError
    from tinsmith.convert.layers.sums import TensorSums

__all__ = ["LOUD_DB", "Evidence", "name_culprits"]

# Error of a hundredth of the power: 8 bits that are used well stay at 30 dB and above.
LOUD_DB = 20.0
_MANY_CHANNELS = 0.25
_SATURATED = 0.005
_LITTLE_OF_THE_GRID = 0.25
_UNEVEN = 16.0
_ONE_CHANNEL = 0.5
_FAR_MORE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of one layer besides its figures.

    Attributes:
        sums: What was summed up.
        spans: The largest weight of each output channel of the float model; None for layers without weights.
        weight_scales: How many scales the other model stores these weights with; 0 for floats.
    """

    sums: TensorSums
    spans: NDArray[np.float32] | None = None
    weight_scales: int = 0


def name_culprits(layers: Sequence[LayerError], evidence: Sequence[Evidence]) -> tuple[Culprit, ...]:
    """Find the layers that are to blame, the worst first.

    A layer is, where the error that it adds is felt above a hundredth of the power one operator later, or drowns a
    quarter of the channels that others take.

    Args:
        layers: All of them.
        evidence: One each.
    """
    found = [
        Culprit(
            position=layer.position,
            name=layer.name,
            operator=layer.operator,
            harm_db=layer.harm_db,
            reasons=tuple(_reasons(layer, known)),
        )
        for layer, known in zip(layers, evidence, strict=True)
        if layer.harm_db is not None and _is_loud(layer)
    ]
    return tuple(sorted(found, key=lambda culprit: culprit.harm_db))


def _is_loud(layer: LayerError) -> bool:
    # Many answers may be next to nothing, as those of a softmax are; nobody multiplies them by large weights.
    drowned = layer.felt_db is not None and (layer.lost_channels or 0.0) >= _MANY_CHANNELS
    return (layer.harm_db is not None and layer.harm_db < LOUD_DB) or drowned


def _reasons(layer: LayerError, known: Evidence) -> Iterator[str]:
    """What was seen, the most telling first; in the end how loud the error is."""
    if layer.saturated is not None and layer.saturated >= _SATURATED:
        yield f"saturates {100 * layer.saturated:.2g} % of its values"
    yield from _uneven_channels(layer, known)
    yield from _narrow(layer, known.sums)
    yield from _uneven_weights(known)
    yield from _one_channel(known)
    yield from _weights_rounded(layer, known)
    yield f"the error that it adds stands {layer.harm_db:.1f} dB below the signal {_where(layer)}"


def _where(layer: LayerError) -> str:
    return "in itself" if layer.felt_db is None else "one operator later"


def _narrow(layer: LayerError, sums: TensorSums) -> Iterator[str]:
    if layer.range_use is not None and sums.usual is not None and layer.range_use < _LITTLE_OF_THE_GRID:
        low, high = sums.usual
        yield (
            f"range {layer.low:.3g} to {layer.high:.3g}, but 99.9 % of the values lie from {low:.3g} to {high:.3g}: "
            f"{100 * layer.range_use:.2g} % of the grid used"
        )


def _uneven_channels(layer: LayerError, known: Evidence) -> Iterator[str]:
    channels = known.sums.channels
    if channels is None or known.sums.grid is None:
        return
    reach = np.where(channels.live, channels.reach, np.nan)
    if not channels.live.any() or not layer.lost_channels:
        return
    greatest, typical = int(np.nanargmax(reach)), float(np.nanmedian(reach))
    if reach[greatest] > _UNEVEN * typical:
        steps = typical / known.sums.grid.scale
        yield (
            f"channel {greatest} reaches {reach[greatest] / typical:,.0f} times as far as the median channel, which "
            f"is left {_steps(steps)} of the grid; {100 * layer.lost_channels:.2g} % of the channels drown"
        )


def _steps(steps: float) -> str:
    return "less than one step" if steps < 1 else f"{steps:,.0f} step{'s' * (round(steps) != 1)}"


def _uneven_weights(known: Evidence) -> Iterator[str]:
    """Channels of weights that share one scale although they differ in size."""
    if known.spans is None or known.weight_scales != 1 or len(known.spans) < 2:
        return
    spans = np.where(known.spans > 0, known.spans, np.nan)
    if np.isnan(spans).all():
        return
    widest, least = int(np.nanargmax(spans)), int(np.nanargmin(spans))
    if spans[widest] > _UNEVEN * spans[least]:
        times = spans[widest] / spans[least]
        yield f"weights of channel {widest} span {times:,.0f} times those of channel {least}, on one scale"


def _weights_rounded(layer: LayerError, known: Evidence) -> Iterator[str]:
    """Rounding to a grid adds a twelfth of its step squared (Widrow); what is far more comes from elsewhere."""
    grid = known.sums.grid
    if grid is None or known.spans is None or (layer.saturated or 0.0) >= _SATURATED:
        return
    times = known.sums.own.mean_noise / (grid.scale**2 / 12)
    if times > _FAR_MORE:
        yield f"its weights are to blame: rounding its values to their grid would add {times:,.0f} times less error"


def _one_channel(known: Evidence) -> Iterator[str]:
    channels = known.sums.channels
    shares = np.zeros(0) if channels is None else channels.noise_shares
    if len(shares) > 1 and shares.max() > max(_ONE_CHANNEL, 4 / len(shares)):
        yield f"channel {int(shares.argmax())} holds {100 * shares.max():.0f} % of the error"
