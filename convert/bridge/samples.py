"""Seeded inputs for a model: numbers on which a wrong layer shows, and token ids that its embeddings know."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinsmith.convert.bridge.engines import keras, tensorflow
from tinsmith.convert.bridge.graph import Call, calls_of, graph_of, is_model
from tinsmith.runtime.errors import VerificationError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Arrays = list[npt.NDArray[Any]]

__all__ = ["on_seeded_inputs", "seeded_inputs"]

Result = TypeVar("Result")

_SEED = 20
_BATCH = 2
# The second sample is large enough that functions which bend or saturate (relu6, hard_sigmoid) do so.
_SCALES = (1.0, 8.0)
_PADDING_SHARE = 0.2
# Sizes that axes left open are tried with: enough for five halvings, for a classifier of photographs, and few.
_FREE_SIZES = (32, 224, 8)
# Layers that take integers below a limit, and what they call it.
_LIMITS = {"Embedding": "input_dim", "CategoryEncoding": "num_tokens"}


def on_seeded_inputs(model: Any, run: Callable[[Arrays], Result]) -> tuple[Arrays, Result]:
    """Run the model on seeded inputs of a size that it takes.

    Args:
        model: Functional or sequential, of Keras 3.
        run: Takes one array per input; raises what Keras or its backend raise where their size is wrong.

    Returns:
        The inputs, and what ``run`` made of them.

    Raises:
        VerificationError: No size was right, or the model can't be run at all.
    """
    is_free = any(size is None for tensor in model.inputs for size in tensor.shape[1:])
    message = ""
    for size in _FREE_SIZES if is_free else _FREE_SIZES[:1]:
        inputs = seeded_inputs(model, free_size=size)
        try:
            with warnings.catch_warnings():
                # Keras warns about lost masks at each call; the author of the model has seen it when building.
                warnings.simplefilter("ignore", UserWarning)
                return inputs, run(inputs)
        except (ValueError, TypeError, RuntimeError, tensorflow().errors.OpError) as error:
            message = first_line(error)
    raise VerificationError(
        f"{model.name} can't be run on seeded inputs, so that its copy can't be compared: {message}",
        hint="give its inputs fixed shapes, and check that model.predict works",
    )


def seeded_inputs(model: Any, *, free_size: int) -> Arrays:
    """Make the same inputs each time, without touching any global random state.

    Args:
        model: Functional or sequential, of Keras 3.
        free_size: The size of each axis that the model leaves open.

    Returns:
        One array per input, in the order of ``model.inputs``.
    """
    rng = np.random.default_rng(_SEED)
    limits = _limits(graph_of(model))
    return [_sample(tensor, limit, free_size, rng) for tensor, limit in zip(model.inputs, limits, strict=True)]


def _sample(tensor: Any, limit: int | None, free_size: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    batch, *axes = tensor.shape
    shape = (_BATCH if batch is None else batch, *(free_size if size is None else size for size in axes))
    dtype = tensor.dtype
    if limit is not None:
        return _token_ids(shape, limit, rng).astype(dtype)
    if "float" not in dtype:
        return rng.integers(0, 256 if dtype == "uint8" else 2, shape).astype(dtype)
    scales = np.resize(_SCALES, shape[0]).reshape(-1, *(1 for _ in axes))
    return (rng.standard_normal(shape) * scales).astype(_plain_float(dtype))


def _plain_float(dtype: str) -> str:
    """A float that NumPy has; the model casts it."""
    return "float32" if dtype == "bfloat16" else dtype


def _token_ids(shape: tuple[int, ...], limit: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Ids with some padding (0) among them, so that masks matter; but no row is all padding."""
    ids = rng.integers(0, limit, shape)
    ids[rng.random(shape) < _PADDING_SHARE] = 0
    ids.reshape(shape[0], -1)[:, 0] = limit - 1
    return ids


def _limits(graph: Any) -> list[int | None]:
    """For each input, below which number its integers must stay; None where it does not reach a table."""
    inputs = [id(tensor) for tensor in graph.inputs]
    limits: list[int | None] = [None] * len(inputs)
    # Which inputs a tensor still carries the numbers of.
    origins: dict[int, set[int]] = {tensor: {index} for index, tensor in enumerate(inputs)}
    for call in calls_of(graph):
        reached: list[set[int]] = [origins.get(id(tensor), set()) for tensor in call.tensors()]
        for where, limit in zip(reached, _limits_of(call, len(reached)), strict=False):
            for index in where:
                limits[index] = _smaller(limits[index], limit)
        if not getattr(call.operation, "weights", ()):
            origins.update({id(tensor): set().union(*reached) for tensor in call.outputs})
    return limits


def _limits_of(call: Call, count: int) -> Sequence[int | None]:
    """The limit that a call sets on each tensor that it is given."""
    operation = call.operation
    if is_model(operation):
        return _limits(graph_of(operation))
    operation = getattr(operation, "layer", operation)  # a wrapper hands its input on to a layer
    key = _LIMITS.get(type(operation).__name__)
    limit = None if key is None or not isinstance(operation, keras().layers.Layer) else getattr(operation, key)
    return [limit] * count


def _smaller(first: int | None, second: int | None) -> int | None:
    known = [limit for limit in (first, second) if limit is not None]
    return min(known, default=None)
