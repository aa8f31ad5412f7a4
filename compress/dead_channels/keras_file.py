"""Dead channels of a Keras model."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.compress.dead_channels.analysis import find_dead
from tinsmith.compress.dead_channels.keras_reading import KerasReading
from tinsmith.compress.dead_channels.outcome import Outcome, Size
from tinsmith.compress.structure.coupling import couple
from tinsmith.compress.structure.flattening import functional
from tinsmith.compress.structure.rebuild import rebuild
from tinsmith.compress.structure.spaces import Costs
from tinsmith.compress.training.trainable import load_trainable, save_trainable
from tinsmith.runtime.files import staged_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.compress.dead_channels.analysis import Removal
    from tinsmith.compress.dead_channels.outcome import Limits
    from tinsmith.compress.structure.coupling import Coupling
    from tinsmith.convert.model import Model

__all__ = ["without_dead_channels", "write_without"]


def write_without(source: Model, output: Path, limits: Limits, *, allow_unsafe: bool) -> Outcome:
    """Load a model, and save it without its dead channels; where there are none, nothing is written.

    Raises:
        ModelLoadError: It is damaged, or holds no Keras model.
        UnsupportedOperatorError: A layer of Keras 3 has no counterpart in tf_keras.
    """
    trained = load_trainable(source, allow_unsafe=allow_unsafe)
    smaller, outcome = without_dead_channels(trained.native, limits)
    if outcome.removal.removed:
        _save(smaller, output, hdf5=source.format == "hdf5")
    return outcome


def without_dead_channels(model: Any, limits: Limits) -> tuple[Any, Outcome]:
    """Make a tf_keras model without its dead channels.

    Args:
        model: Functional or sequential; it is not changed.
        limits: What is assumed and allowed.

    Returns:
        The new model, and what was found; the model that went in where nothing could go.
    """
    whole = functional(model)
    coupling = couple(whole)
    reading = KerasReading(whole, limits.largest_input)
    # channels go with those that they go with when the model is rebuilt
    groups = {value: _groups(coupling, name) for name, value in reading.values.items() if name in coupling.layers}
    graph = replace(reading.graph(), groups=groups)
    removal = find_dead(graph, limits.bound)
    dropped = {int(r) for v, roots in groups.items() for r in np.delete(roots, removal.kept[v]).tolist()}
    smaller = rebuild(whole, coupling, dropped, _biases(reading, removal)) if removal.removed else model
    costs = Costs(coupling)
    size = Size(
        parameters_before=int(whole.count_params()),
        parameters_after=int(smaller.count_params()),
        macs_before=costs.macs(()),
        macs_after=costs.macs(dropped),
    )
    return smaller, Outcome(removal=removal, not_followed=graph.not_followed(), size=size)


def _groups(coupling: Coupling, layer: str) -> NDArray[np.int64]:
    roots = coupling.roots(coupling.layers[layer].given)
    return np.where(np.isin(roots, sorted(coupling.frozen)), -1, roots)


def _biases(reading: KerasReading, removal: Removal) -> dict[str, NDArray[np.float32]]:
    """New biases by layer, with one number for each channel that goes as well."""
    whole = {}
    for name, bias in removal.biases.items():
        value = reading.values[name]
        whole[name] = np.zeros(removal.widths[value], np.float32)
        whole[name][removal.kept[value]] = bias
    return whole


def _save(model: Any, output: Path, *, hdf5: bool) -> None:
    if not hdf5:
        save_trainable(model, output)
        return
    with staged_file(output) as staged, warnings.catch_warnings():
        # the user's own format, and what comes next reads it
        warnings.filterwarnings("ignore", message="You are saving your model as an HDF5 file")
        named = staged.with_name(f"{staged.name}.h5")
        model.save(named, save_format="h5")
        named.replace(staged)
