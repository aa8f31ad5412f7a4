"""Samples of TensorFlow Datasets, by name: ``tfds:mnist`` or ``tfds:mnist:test``."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tinsmith.convert.data.functions import open_stream
from tinsmith.convert.data.images import image_preprocessing
from tinsmith.convert.data.metadata import Metadata, split_names
from tinsmith.convert.data.slices import wanted
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.convert.data.source import Request
    from tinsmith.convert.data.streams import StreamSource

__all__ = ["PREFIX", "open_tfds"]

PREFIX = "tfds:"


def open_tfds(reference: str, request: Request) -> StreamSource:
    """Open a dataset that lies on this machine already; tinsmith downloads nothing.

    Without a split, all of train, validation and test are read, and each sample stays in its split.

    Args:
        reference: ``tfds:NAME``, or ``tfds:NAME:SPLIT`` with a split as tfds writes it, such as ``train[:10%]``.
        request: What the samples are wanted for.

    Raises:
        DataError: There is no such dataset or split, it was not downloaded, or it holds no pairs.
        MissingDependencyError: tensorflow-datasets is not installed.
    """
    tfds = require("tensorflow_datasets", needed_for=f"--data {reference}")
    _stay_offline(tfds)
    name, _, split = reference.removeprefix(PREFIX).partition(":")
    try:
        builder = tfds.builder(name)
    except Exception as error:  # a registry's error, whose class moved from version to version
        raise DataError(f"tfds knows no dataset {name!r}: {first_line(error)}", hint="check the name") from error
    if not builder.is_prepared():
        raise DataError(
            f"{reference} does not lie on this machine, and tinsmith downloads nothing",
            hint=f"python -c \"import tensorflow_datasets as t; t.load('{name}')\"",
        )
    keys = _keys(builder.info, reference)
    slices = wanted(request.slices, list(builder.info.features), reference)
    sizes = {key: info.num_examples for key, info in builder.info.splits.items()}
    splits = [split] if split else [key for key in sizes if key in ("train", "validation", "test")]
    known = Metadata(
        class_names=tuple(getattr(builder.info.features[keys[1]], "names", None) or ()),
        splits=None if split else split_names(reference, [key for key in splits for _ in range(sizes[key])]),
    )

    def pairs() -> Iterator[Any]:
        return itertools.chain.from_iterable(_pairs(tfds, builder, key, (*keys, *slices), reference) for key in splits)

    return open_stream(pairs, known, reference, _completed(builder.info.features[keys[0]], request))


def _stay_offline(tfds: Any) -> None:
    """Keep it from asking Google's servers for what it does not find here."""
    with contextlib.suppress(AttributeError):
        tfds.core.utils.gcs_utils._is_gcs_disabled = True  # noqa: SLF001 - the switch that its documentation names


def _keys(info: Any, reference: str) -> tuple[str, str]:
    """The names of the sample and of its label."""
    keys = info.supervised_keys
    if isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        return keys[0], keys[1]
    found = [key for key in ("image", "text") if key in info.features]
    if len(found) == 1 and "label" in info.features:
        return found[0], "label"
    raise DataError(
        f"{reference} holds {', '.join(info.features)}, and does not say which of them is the sample",
        hint="write a function that gives pairs of a sample and its label, and name it: --data module:function",
    )


def _pairs(tfds: Any, builder: Any, split: str, keys: tuple[str, ...], reference: str) -> Iterator[Any]:
    """Each sample with its label and its slices, in the order in which they lie on the disk."""
    try:
        config = tfds.ReadConfig(interleave_cycle_length=1)
        made = builder.as_dataset(split=split, shuffle_files=False, read_config=config)
    except (ValueError, KeyError, AssertionError, TypeError) as error:
        raise DataError(f"{reference}: {first_line(error)}", hint="name a split that it has") from error
    for example in tfds.as_numpy(made):
        raw, label = example[keys[0]], example[keys[1]]
        cells = {key: _cell(builder.info.features[key], example[key]) for key in keys[2:]}
        yield raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw, label, cells


def _cell(feature: Any, value: Any) -> str:
    """The name of a slice: as the feature calls it where it has names."""
    if getattr(feature, "names", None):
        return str(feature.int2str(int(value)))
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _completed(feature: Any, request: Request) -> Request:
    """The request with the preprocessing that follows from the model's input, where the samples are images."""
    if type(feature).__name__ != "Image" or not request.inputs:
        return request
    return replace(request, preprocessing=image_preprocessing(request.preprocessing, request.inputs[0]))
