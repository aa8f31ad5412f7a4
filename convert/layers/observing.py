"""Run two models side by side, a portion of samples at a time, and sum up what lies between them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from tinsmith.convert.calibration.feeding import feeds_for_one_run
from tinsmith.convert.layers.culprits import Evidence, name_culprits
from tinsmith.convert.layers.matching import match
from tinsmith.convert.layers.probe import open_probe
from tinsmith.convert.layers.report import LayerError, LayerReport
from tinsmith.convert.layers.sums import Power, TensorSums, finite
from tinsmith.runtime.errors import DataError, UsageError, VerificationError
from tinsmith.runtime.session import artifact_format, quantize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.convert.layers.matching import Match, Pair
    from tinsmith.convert.layers.probe import Probe
    from tinsmith.convert.layers.report import Culprit
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]
    Feeds = Mapping[str, Array]
    Reals = NDArray[np.floating]

__all__ = ["layer_report"]

_EVERY_TENSOR_BYTES = 64 << 20
_MOST_SAMPLES = 32
# Of the error among the inputs of an operator; one that brings less is not what is felt behind it.
_FELT_SHARE = 0.1
_OTHER_WEIGHTS_DB, _ENOUGH_LAYERS = 3.0, 3
# Answers with a tenth of their power in error.
_POOR_DB = 10.0


def layer_report(
    reference: Path, other: Path, samples: Iterable[Feeds], *, at_most: int = _MOST_SAMPLES
) -> LayerReport:
    """Hold two artifacts of one format against each other, tensor by tensor.

    What a layer adds is found by running the float operator on the very inputs that the other model fed it, as the
    debugger of TensorFlow does in a debug build; here the float graph is cut at every tensor that both models compute.
    A second run, on inputs without what each layer added, tells how much of it is felt one operator later.

    Args:
        reference: The float model; accepted by a child process before.
        other: What became of it; accepted likewise.
        samples: Batches of real numbers, one array an input name, samples on axis 0; read once, and run in portions
            that keep memory constant.
        at_most: Samples a portion.

    Raises:
        UsageError: They are of two formats, or the first one is not a float model.
        VerificationError: They are not the same model: less than half of their layers have a counterpart.
        DataError: There are no samples, or they do not fit.
        ModelError: One of them can't be run with its tensors brought to light.
    """
    _check_formats(reference, other)
    one, two = open_probe(reference), open_probe(other)
    _check_float(reference, one)
    return _Observation(one, two, match(one.wiring, two.wiring)).over(samples, at_most=at_most)


def _check_formats(reference: Path, other: Path) -> None:
    formats = artifact_format(reference), artifact_format(other)
    if formats[0] != formats[1]:
        raise UsageError(
            f"{reference.name} is {formats[0]} and {other.name} is {formats[1]}, whose layers have nothing in common",
            hint=f"convert the float model first: tinsmith convert {reference} -o {reference.stem}.{formats[1]}",
        )


def _check_float(path: Path, probe: Probe) -> None:
    if any(value.grid is not None for value in probe.wiring.values.values()):
        raise UsageError(
            f"{path.name} is quantized itself, so that nothing tells what its layers should answer",
            hint="give the float model first, then the quantized one",
        )


class _Observation:
    """The sums over all matched tensors."""

    def __init__(self, one: Probe, two: Probe, found: Match) -> None:
        self._one, self._two, self._match = one, two, found
        self._inputs = [pair for pair in found.pairs if pair.reference in one.wiring.inputs]
        self._computed = [pair for pair in found.pairs if pair.reference not in one.wiring.inputs]
        names = [pair.reference for pair in self._computed]
        self._float, self._apart = one.observing(names), one.apart(names)
        self._whole = two.observing([pair.other for pair in found.pairs])
        self._sums = {pair.reference: self._fresh_sums(pair) for pair in found.pairs}
        self._felt = {pair.reference: Power() for pair in self._computed}
        self._sample_bytes = 0.0
        self._samples = 0

    def _fresh_sums(self, pair: Pair) -> TensorSums:
        value = self._one.wiring.values[pair.reference]
        axis = _channel_axis(pair, len(value.shape), onnx=self._one.wiring.format == "onnx")
        return TensorSums(self._two.wiring.values[pair.other].grid, axis)

    def over(self, samples: Iterable[Feeds], *, at_most: int) -> LayerReport:
        for feeds in samples:
            given = len(next(iter(feeds.values())))
            start = 0
            while start < given:
                stop = min(given, start + self._portion(at_most))
                self._observe({name: array[start:stop] for name, array in feeds.items()}, stop - start)
                start = stop
        if not self._samples:
            raise DataError("there are no samples to compare the layers on", hint="give some with --data")
        return self._report()

    def _portion(self, at_most: int) -> int:
        """As many samples as a model's batch axis has, or as fit into memory with every tensor; one to begin with."""
        fixed = {spec.batch for probe in (self._one, self._two) for spec in probe.inputs} - {None}
        if len(fixed) > 1:
            raise VerificationError(f"the two models take batches of different sizes: {sorted(map(str, fixed))}")
        if fixed:
            return cast("int", fixed.pop())
        if not self._sample_bytes:
            return 1
        return max(1, min(at_most, int(_EVERY_TENSOR_BYTES / self._sample_bytes)))

    def _observe(self, feeds: Feeds, count: int) -> None:
        """One portion; what a fixed batch axis is filled up with is cut off before anything is summed."""
        ours = self._fed(self._one, feeds)
        theirs = self._whole(self._fed(self._two, feeds))
        stored = {pair.reference: theirs[pair.other] for pair in self._match.pairs}
        real = {name: self._real(name, array) for name, array in stored.items()}
        expected = {**self._float(ours), **{pair.reference: ours[pair.reference] for pair in self._inputs}}
        self._check_shapes(expected, real)
        fed = {**ours, **real}
        own = self._apart(fed)
        clean = self._apart({**ours, **own})
        filled = len(next(iter(ours.values())))
        for pair in self._match.pairs:
            name = pair.reference
            added = own.get(name, expected[name])
            self._sums[name].add(*(_cut(a, filled, count) for a in (expected[name], added, stored[name])))
            if name in own:
                parts = finite(*(_cut(a, filled, count) for a in (expected[name], own[name], clean[name])))
                self._felt[name].add(parts[0], parts[1] - parts[2])
        self._samples += count
        self._sample_bytes = sum(array.nbytes for array in real.values()) / filled

    @staticmethod
    def _fed(probe: Probe, feeds: Feeds) -> dict[str, Array]:
        """One portion in the dtypes that a model stores, by the names of its tensors."""
        real = [spec if spec.quantization is None else _as_float(spec) for spec in probe.inputs]
        portion = feeds_for_one_run(feeds, real)
        arrays = [_stored(portion[spec.name], spec) for spec in probe.inputs]
        return dict(zip(probe.wiring.inputs, arrays, strict=True))

    def _real(self, name: str, stored: Array) -> Array:
        grid = self._sums[name].grid
        dtype = self._one.wiring.values[name].dtype
        return (stored if grid is None else grid.real(stored)).astype(dtype, copy=False)

    @staticmethod
    def _check_shapes(expected: Mapping[str, Array], real: Mapping[str, Array]) -> None:
        for name, array in expected.items():
            if array.shape != real[name].shape:
                raise VerificationError(
                    f"tensor {name!r} has shape {list(array.shape)} in one model and {list(real[name].shape)} in the "
                    "other, so they are not the same model in two precisions"
                )

    def _report(self) -> LayerReport:
        layers = tuple(self._layer(at, pair) for at, pair in enumerate(self._match.pairs))
        evidence = [self._evidence(pair) for pair in self._match.pairs]
        culprits = name_culprits(layers, evidence)
        return LayerReport(
            samples=self._samples,
            layers=layers,
            culprits=culprits,
            only_reference=self._match.only_reference,
            only_other=self._match.only_other,
            remark=_remark(layers, culprits, self._one.wiring.outputs),
        )

    def _layer(self, at: int, pair: Pair) -> LayerError:
        sums, grid = self._sums[pair.reference], self._sums[pair.reference].grid
        return LayerError(
            position=max(0, at + 1 - len(self._inputs)),
            name=pair.reference,
            operator="+".join(pair.operators) or "input",
            dtype=self._one.wiring.values[pair.reference].dtype,
            other_dtype=self._two.wiring.values[pair.other].dtype,
            scale=None if grid is None else grid.scale,
            zero_point=None if grid is None else grid.zero_point,
            low=sums.low,
            high=sums.high,
            mean_abs=sums.mean_abs,
            largest=sums.largest,
            snr_db=sums.whole.decibels,
            own_db=sums.own.decibels,
            felt_db=self._felt_behind(pair.reference),
            taken=any(pair.reference in taker.sources for taker in self._computed),
            saturated=sums.saturated,
            range_use=sums.range_use,
            lost_channels=None if sums.channels is None else sums.channels.lost,
        )

    def _felt_behind(self, name: str) -> float | None:
        """The loudest that its error is felt among those that take it, where it is a good part of what they feel."""
        found = []
        for taker in self._computed:
            if name in taker.sources:
                # an input that the other model has no counterpart of brings the same numbers to both
                errors = [self._sums[source].own.mean_noise for source in taker.sources if source in self._sums]
                if self._sums[name].own.mean_noise >= _FELT_SHARE * max(errors):
                    found.append(self._felt[taker.reference].decibels)
        return min((db for db in found if db is not None), default=None)

    def _evidence(self, pair: Pair) -> Evidence:
        sums = self._sums[pair.reference]
        nodes, _ = self._one.wiring.chain(pair.reference, frozenset(self._sums))
        facing, _ = self._two.wiring.chain(pair.other, frozenset(p.other for p in self._match.pairs))
        ours = [self._one.weights(node.outputs[0]) for node in nodes if node.weights]
        theirs = [self._two.weights(node.outputs[0]) for node in facing if node.weights]
        if not ours or not theirs or ours[0] is None or theirs[0] is None:
            return Evidence(sums=sums)
        return Evidence(sums=sums, spans=ours[0][0], weight_scales=theirs[0][1])


def _channel_axis(pair: Pair, rank: int, *, onnx: bool) -> int | None:
    """Where channels stand: last, but in ONNX's pictures behind the batch."""
    if rank < 2:
        return None
    pictures = rank >= 4 or (rank == 3 and any("Conv" in name or "Pool" in name for name in pair.operators))
    return 1 if onnx and pictures else -1


def _as_float(spec: TensorSpec) -> TensorSpec:
    return replace(spec, dtype="float32", quantization=None)


def _stored(array: Array, spec: TensorSpec) -> Array:
    return array if spec.quantization is None else quantize(array, spec.quantization, np.dtype(spec.dtype))


def _cut(array: Array, filled: int, count: int) -> Reals:
    """Without the samples that a fixed batch axis was filled up with."""
    kept = array
    if filled != count and array.ndim and len(array) % filled == 0:
        kept = array[: len(array) // filled * count]
    return cast("Reals", kept)


def _remark(layers: Sequence[LayerError], culprits: Sequence[Culprit], outputs: Sequence[str]) -> str:
    """What no single layer tells: other weights, or small errors that add up."""
    computed = [layer for layer in layers if layer.operator != "input" and layer.harm_db is not None]
    strangers = [layer for layer in computed if (layer.own_db or 0.0) < _OTHER_WEIGHTS_DB]
    if len(computed) >= _ENOUGH_LAYERS and len(strangers) * 2 > len(computed):
        return "most layers answer the same inputs in another way: these two hold other weights, not other precisions"
    ends = [layer.snr_db for layer in layers if layer.name in outputs and layer.snr_db is not None]
    if culprits or not computed or min(ends, default=_POOR_DB) >= _POOR_DB:
        return ""
    loudest = min(computed, key=lambda layer: layer.harm_db or 0.0)
    return (
        f"no layer is loud by itself, but the errors of {len(computed)} add up to {min(ends):.1f} dB in the answers; "
        f"the loudest is {loudest.operator} {loudest.name} ({loudest.harm_db:.1f} dB)"
    )
