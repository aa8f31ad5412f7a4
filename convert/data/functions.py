"""Samples that a function of the user gives: ``package.module:function``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.data import checks
from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.folder import only_input
from tinsmith.convert.data.metadata import Metadata, labels_of_array, labels_of_cells
from tinsmith.convert.data.records import RecordSource
from tinsmith.convert.data.slices import SLICE, slices_of_arrays, slices_of_cells, wanted
from tinsmith.convert.data.source import Origin
from tinsmith.convert.data.streams import StreamSource, scan
from tinsmith.convert.references import find_function
from tinsmith.runtime.errors import DataError, first_line
from tinsmith.runtime.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.convert.data.source import Array, Request, Source
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["open_function", "open_stream"]

_RETURNS = "return (x, y), a dict of arrays, or an iterable of (sample, label) that can be made again"
_RESERVED = ("y", SLICE)


def open_function(reference: str, request: Request) -> Source:
    """Call a function of the user, and read what it gives.

    It takes no arguments, and gives a pair of arrays (x, y), a dict with one array an input name and perhaps y and
    slice, or an iterable of pairs of a sample and its label, where a dict of slices such as {"camera": "left"} may
    stand third; it is called again for each reading of such an iterable. The present folder is searched for its module
    first.

    Raises:
        DataError: There is no such function, it failed, or it gives something else.
    """
    function = find_function(reference, hint=f"let it {_RETURNS}", error=DataError)
    given = _call(function, reference)
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], np.ndarray):
        return _open_arrays({"x": given[0], **({} if given[1] is None else {"y": given[1]})}, reference, request)
    if isinstance(given, Mapping):
        return _open_arrays(given, reference, request)
    if isinstance(given, np.ndarray):
        return _open_arrays({"x": given}, reference, request)
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise DataError(f"{reference} gave {type(given).__name__}", hint=_RETURNS)
    return open_stream(partial(_call, function, reference), Metadata(), reference, request)


def open_stream(pairs: Callable[[], Any], known: Metadata, reference: str, request: Request) -> StreamSource:
    """Open pairs that come one after the other.

    Args:
        pairs: Gives the same pairs in the same order each time.
        known: The names of the classes and the splits, where the source says them.
        reference: For messages.
        request: What they are wanted for.

    Raises:
        DataError: There are none, they have no labels that can be read, or they differ from call to call.
    """
    spec = only_input(Path(reference), request.inputs)
    found = scan(pairs(), reference)
    names = request.class_names or known.class_names
    read = Metadata(class_names=names)
    if found.labels:
        read = labels_of_cells(f"{reference}, labels", found.labels, names)
    columns = wanted(request.slices, list(found.slices), reference) or tuple(found.slices)
    metadata = Metadata(
        labels=read.labels, targets=read.targets, class_names=names or read.class_names, outside=read.outside,
        splits=known.splits, slices=tuple(slices_of_cells(name, found.slices[name]) for name in columns),
    )  # fmt: skip
    fit = Fit(where=reference, spec=spec, preprocessing=request.preprocessing or Preprocessing())
    origin = Origin(name=reference, where=reference, said=found.sha256 + request.said)
    return StreamSource(pairs, fit, metadata, origin, found.samples)


def _call(function: Callable[[], Any], reference: str) -> Any:
    try:
        return function()
    except Exception as error:  # the user's function may do anything
        raise DataError(
            f"{reference} failed: {type(error).__name__}: {first_line(error)}", hint="it is called without arguments"
        ) from error


def _open_arrays(given: Mapping[str, Any], reference: str, request: Request) -> RecordSource:
    arrays = {str(key): np.asarray(value) for key, value in given.items()}
    for key, array in arrays.items():
        if array.dtype.hasobject or array.ndim == 0:
            raise DataError(f"{reference}: {key!r} is no array of numbers with the samples on axis 0", hint=_RETURNS)
    samples, columns = _matched(arrays, reference, request)
    metadata = Metadata(class_names=request.class_names)
    if "y" in arrays:
        metadata = labels_of_array(f"{reference}, array 'y'", arrays["y"], samples, request.class_names)
    fed = {id(array) for array, _ in columns.values()}
    names = wanted(request.slices, [key for key, array in arrays.items() if id(array) not in fed], reference)
    slices = slices_of_arrays(reference, {name: arrays[name] for name in names}, samples)
    metadata = replace(metadata, slices=slices)
    said = scan(((arrays[key], None) for key in sorted(arrays)), reference).sha256
    return RecordSource(columns, metadata, Origin(name=reference, where=reference, said=said + request.said))


def _matched(arrays: Mapping[str, Array], reference: str, request: Request) -> tuple[int, dict[str, tuple[Array, Fit]]]:
    """How many samples there are, and the array and the fit of each input."""
    preprocessing = request.preprocessing or Preprocessing()
    if request.inputs is None:
        reserved = {*_RESERVED, *request.slices}
        pairs: dict[str, tuple[str, TensorSpec | None]] = {key: (key, None) for key in arrays if key not in reserved}
    else:
        matched = checks.match_inputs(reference, arrays, request.inputs)
        pairs = {spec.name: (key, spec) for key, spec in matched.items()}
    if preprocessing.operations and len(pairs) > 1:
        raise DataError(f"{reference}: preprocessing is for models with one input", hint="give what the model takes")
    lengths = {len(arrays[key]) for key, _ in pairs.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise DataError(f"{reference} gives no samples, or arrays of different lengths: {sorted(lengths)}")
    columns = {
        name: (arrays[key], Fit(where=f"{reference}, array {key!r}", spec=spec, preprocessing=preprocessing))
        for name, (key, spec) in pairs.items()
    }
    return lengths.pop(), columns
