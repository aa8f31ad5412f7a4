"""What each kind of tf_keras layer does with channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tinsmith.compress.structure.coupling import Call, Channels, Coupling

    Atoms = NDArray[np.int64]
    Rule = Callable[[Coupling, Call, list[Atoms], Channels | None], Channels]

__all__ = ["FreezeError", "Rule", "Side", "channel_axes", "rule_of"]

# Where a layer's channels stand: on what goes in, on what comes out, or as heads inside.
Side = Literal["taken", "given", "heads"]


class FreezeError(Exception):
    """The layer's channels can't be followed; says why."""


def rule_of(call: Call) -> Rule:
    """What a layer does with channels; raises ``FreezeError`` where that is not known."""
    kind = type(call.layer).__name__
    rule = _RULES.get(kind)
    if rule is None:
        raise FreezeError(f"a {kind} may use channels in any way")
    if len(call.given) != 1:
        raise FreezeError(f"it gives {len(call.given)} tensors")
    if not _channel_axis_is_last(call):
        raise FreezeError("its channels are not on the last axis")
    return rule


def _channel_axis_is_last(call: Call) -> bool:
    axis = getattr(call.layer, "axis", -1)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    last = len(call.given[0]) - 1
    return getattr(call.layer, "data_format", "channels_last") == "channels_last" and axes in ([-1], [last])


def channel_axes(kind: str, weight: str, rank: int) -> list[tuple[int, Side]]:
    """The axes of a weight that hold one entry a channel.

    Args:
        kind: The layer's class.
        weight: The weight's name, such as ``conv/kernel:0``.
        rank: Of the weight.
    """
    *parents, name = weight.split(":")[0].split("/")
    if kind == "MultiHeadAttention":
        # query, key and value: kernel [in, heads, dim], bias [heads, dim]; output: kernel [heads, dim, out], bias [out]
        if "attention_output" in parents:
            return [(0, "heads")] if name == "kernel" else []
        return [(rank - 2, "heads")]
    if name == "kernel" and kind == "Conv2DTranspose":
        return [(rank - 2, "given"), (rank - 1, "taken")]
    if name in ("kernel", "pointwise_kernel"):
        return [(rank - 2, "taken"), (rank - 1, "given")]
    return [(rank - 2, "taken")] if name == "depthwise_kernel" else [(rank - 1, "given")]


def _given(layer: Any, taken: Atoms, given: Atoms, heads: Atoms | None = None) -> Channels:
    from tinsmith.compress.structure.coupling import Channels

    none = np.array([], dtype=np.int64)
    return Channels(layer=layer, taken=taken, given=given, heads=none if heads is None else heads)


def _makes(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:
    """A layer whose every output channel reads every input channel."""
    layer = call.layer
    count = int(layer.filters if hasattr(layer, "filters") else layer.units)
    if getattr(layer, "groups", 1) != 1:
        raise FreezeError(f"it is a convolution in {layer.groups} groups")
    given = coupling.fresh(count) if earlier is None else earlier.given
    if _mixes(layer):
        coupling.freeze(given)
    return _given(call.layer, taken[0], given)


def _hands_on(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:  # noqa: ARG001
    """A layer that treats each channel by itself."""
    if _mixes(call.layer):
        raise FreezeError("its activation adds up over the channels")
    return _given(call.layer, taken[0], taken[0])


def _depthwise(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:
    if call.layer.depth_multiplier != 1:
        raise FreezeError(f"it makes {call.layer.depth_multiplier} channels of each")
    return _hands_on(coupling, call, taken, earlier)


def _separable(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:
    if call.layer.depth_multiplier != 1:
        raise FreezeError(f"it makes {call.layer.depth_multiplier} channels of each")
    return _makes(coupling, call, taken, earlier)


def _ties(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:  # noqa: ARG001
    """A layer that works on the same channel of several inputs; a single channel is spread over all others."""
    widest = max(taken, key=len)
    for atoms in taken:
        if len(atoms) == len(widest):
            coupling.tie(widest, atoms)
        elif len(atoms) == 1:
            coupling.freeze(atoms)
        else:
            raise FreezeError("its inputs have different numbers of channels")
    return _given(call.layer, widest, widest)


def _concatenates(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:  # noqa: ARG001
    together = np.concatenate(taken)
    return _given(call.layer, together, together)


def _flattens(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:  # noqa: ARG001
    features = call.given[0][-1]
    if features is None:
        raise FreezeError("it flattens images of any size")
    return _given(call.layer, taken[0], np.tile(taken[0], features // len(taken[0])))


def _reshapes(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:  # noqa: ARG001
    """Positions may be arranged anew; channels stay where they are while the last axis keeps its length."""
    if call.taken[0][-1] != call.given[0][-1]:
        raise FreezeError("it moves channels to other places")
    return _given(call.layer, taken[0], taken[0])


def _attends(coupling: Coupling, call: Call, taken: list[Atoms], earlier: Channels | None) -> Channels:
    """Heads can go one by one; what is read and written stays whole, as queries are often added to the answer."""
    config = call.layer.get_config()
    heads = coupling.fresh(int(config["num_heads"])) if earlier is None else earlier.heads
    for atoms in taken:
        coupling.freeze(atoms)
    given = coupling.fresh(call.given[0][-1] or 1) if earlier is None else earlier.given
    coupling.freeze(given)
    return _given(call.layer, taken[0], given, heads)


def _mixes(layer: Any) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "") in ("softmax", "log_softmax")


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Dense"), _makes),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), _ties),
    **dict.fromkeys(
        (
            "Activation", "AlphaDropout", "AveragePooling1D", "AveragePooling2D", "BatchNormalization", "Cropping1D",
            "Cropping2D", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D",
            "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "LeakyReLU", "MaxPooling1D",
            "MaxPooling2D", "ReLU", "SpatialDropout1D", "SpatialDropout2D", "UpSampling1D", "UpSampling2D",
            "ZeroPadding1D", "ZeroPadding2D",
        ),
        _hands_on,
    ),
    "Concatenate": _concatenates,
    "Flatten": _flattens,
    "Reshape": _reshapes,
    "MultiHeadAttention": _attends,
}  # fmt: skip
