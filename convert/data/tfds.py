"""Samples of TensorFlow Datasets, by name: ``tfds:mnist`` or ``tfds:mnist:test``."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tinsmith.convert.data.functions import open_stream
from tinsmith.convert.data.images import image_preprocessing
from tinsmith.convert.data.metadata import Metadata, split_names
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
    name, _, split = reference.removeprefix(PREFIX).partition(":")
    try:
        builder = tfds.builder(name)
    except Exception as error:  # a registry's error, whose class moved from version to version
        raise DataError(f"tfds knows no dataset {name!r}: {first_line(error)}", hint="check the name") from error
    sizes = {key: info.num_examples for key, info in builder.info.splits.items()}
    if not sizes:
        raise DataError(
            f"{reference} does not lie on this machine, and tinsmith downloads nothing",
            hint=f"python -c \"import tensorflow_datasets as t; t.load('{name}')\"",
        )
    splits = [split] if split else [key for key in sizes if key in ("train", "validation", "test")]
    known = Metadata(class_names=_class_names(builder.info), splits=None if split else _splits(splits, sizes))

    def pairs() -> Iterator[Any]:
        return itertools.chain.from_iterable(_pairs(tfds, builder, key, reference) for key in splits)

    return open_stream(pairs, known, reference, _completed(builder.info, request))


def _pairs(tfds: Any, builder: Any, split: str, reference: str) -> Iterator[Any]:
    """Pairs of a sample and its label, in the order in which they lie on the disk."""
    try:
        config = tfds.ReadConfig(interleave_cycle_length=1)
        made = builder.as_dataset(split=split, as_supervised=True, shuffle_files=False, read_config=config)
    except (ValueError, KeyError, AssertionError, TypeError) as error:
        raise DataError(f"{reference}: {first_line(error)}", hint="name a split that it has") from error
    for raw, label in tfds.as_numpy(made):
        yield raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw, label


def _class_names(info: Any) -> tuple[str, ...]:
    feature = (info.features or {}).get((info.supervised_keys or ("", ""))[1])
    return tuple(getattr(feature, "names", None) or ())


def _splits(names: list[str], sizes: dict[str, int]) -> tuple[str, ...]:
    return split_names("tfds", [name for name in names for _ in range(sizes[name])])


def _completed(info: Any, request: Request) -> Request:
    """The request with the preprocessing that follows from the model's input, where the samples are images."""
    feature = (info.features or {}).get((info.supervised_keys or ("", ""))[0])
    if type(feature).__name__ != "Image" or not request.inputs:
        return request
    return replace(request, preprocessing=image_preprocessing(request.preprocessing, request.inputs[0]))
