"""Keras 3's operations (`x + y`, `keras.ops.mean(x)`) in tf_keras: a layer where one does the same, else TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.convert.bridge.activations import as_layers
from tinsmith.convert.bridge.engines import keras, op_layers, tensorflow
from tinsmith.convert.bridge.obstacles import RefusalError
from tinsmith.convert.bridge.step import Step, is_symbolic

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check", "replay"]


def check(operation: Any) -> None:
    """Refuse an operation that can't cross.

    Raises:
        RefusalError: No partner is known for it.
    """
    kind = type(operation)
    if not kind.__module__.startswith("keras.src.ops."):
        raise RefusalError("is a custom operation, whose code can't be translated")
    if kind.__name__ not in _RULES:
        raise RefusalError("is an operation without a counterpart in the bridge")


def replay(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do with tensors of tf_keras what the operation did with those of Keras 3.

    Raises:
        RefusalError: A setting of the operation can't cross.
    """
    return _RULES[type(step.operation).__name__](step, *args, **kwargs)


def _same(symbol: str) -> Callable[..., Any]:
    """The same arguments in the same order."""
    return lambda step, *args: step.function(symbol, *args)


def _activation(name: str) -> Callable[..., Any]:
    """A function of Keras without settings, as layers."""

    def rule(step: Step, x: Any) -> Any:
        return as_layers(name, called=step.called(), names=step.names, dtype=step.dtype)(x)

    return rule


def _arithmetic(symbol: str, layer: str = "") -> Callable[..., Any]:
    """Two operands, brought to the dtype of the result as Keras 3 does; a layer where one is for it."""

    def rule(step: Step, x1: Any, x2: Any) -> Any:
        x1, x2 = step.cast(x1, step.dtype), step.cast(x2, step.dtype)
        if layer and _are_alike(x1, x2):
            return step.layer(layer, [x1, x2])
        return step.function(symbol, x1, x2)

    return rule


def _are_alike(x1: Any, x2: Any) -> bool:
    """Whether a merging layer takes two operands; it broadcasts by other rules than an operation."""
    tensors = all(is_symbolic(x) for x in (x1, x2))
    return tensors and x1.shape.rank is not None and x1.shape.as_list() == x2.shape.as_list()


def _comparison(symbol: str) -> Callable[..., Any]:
    """Two operands of one dtype, which is not that of the result."""

    def rule(step: Step, x1: Any, x2: Any) -> Any:
        tensors = [x for x in (x1, x2) if hasattr(x, "dtype")]
        dtype = keras().backend.result_type(*(_dtype_name(x) for x in tensors))
        return step.function(symbol, step.cast(x1, dtype), step.cast(x2, dtype))

    return rule


def _dtype_name(value: Any) -> str:
    return str(getattr(value.dtype, "name", value.dtype))


def _reduction(symbol: str) -> Callable[..., Any]:
    """A function along axes."""

    def rule(step: Step, x: Any) -> Any:
        operation = step.operation
        if getattr(operation, "initial", None) is not None:
            raise RefusalError(f"has initial={operation.initial!r}, which TensorFlow does not know")
        is_logic = symbol in ("reduce_any", "reduce_all")
        x = x if is_logic else step.cast(x, step.dtype)
        return step.function(symbol, x, axis=operation.axis, keepdims=operation.keepdims)

    return rule


def _extremum(symbol: str) -> Callable[..., Any]:
    def rule(step: Step, x: Any) -> Any:
        operation = step.operation
        if operation.axis is None:
            raise RefusalError("works on all numbers at once; give it an axis")
        found = step.function(symbol, x, axis=operation.axis, output_type=step.dtype)
        return step.function("expand_dims", found, axis=operation.axis) if operation.keepdims else found

    return rule


def _softmax(step: Step, x: Any) -> Any:
    axis = step.operation.axis
    if axis is None:
        raise RefusalError("works on all numbers at once; give it an axis")
    return step.layer("Softmax", x, axis=axis)


def _gelu(step: Step, x: Any) -> Any:
    if not step.operation.approximate:
        return step.layer("Activation", x, activation="gelu")
    return step.function("nn.gelu", x, approximate=True)


def _celu(step: Step, x: Any) -> Any:
    if step.operation.alpha != 1.0:
        raise RefusalError(f"has alpha={step.operation.alpha}, which tf_keras does not know")
    return step.layer("ELU", x, alpha=1.0)


def _clip(step: Step, x: Any) -> Any:
    operation = step.operation
    return step.function("clip_by_value", step.cast(x, step.dtype), operation.x_min, operation.x_max)


def _concatenate(step: Step, xs: Any) -> Any:
    operands = [step.cast(x, step.dtype) for x in xs]
    if len(operands) > 1 and all(is_symbolic(x) for x in operands):
        return step.layer("Concatenate", operands, axis=step.operation.axis)
    return step.function("concat", operands, axis=step.operation.axis)


def _stack(step: Step, xs: Any) -> Any:
    return step.function("stack", [step.cast(x, step.dtype) for x in xs], axis=step.operation.axis)


def _expand_dims(step: Step, x: Any) -> Any:
    axes = step.operation.axis
    axes = [axes] if isinstance(axes, int) else list(axes)
    rank = x.shape.rank + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = step.function("expand_dims", x, axis=axis)
    return x


def _moved(step: Step, x: Any, pairs: list[tuple[int, int]]) -> Any:
    """Move each axis of ``pairs`` to its new place; the others keep their order."""
    rank = x.shape.rank
    moves = sorted((target % rank, source % rank) for source, target in pairs)
    order = [axis for axis in range(rank) if axis not in {source for _, source in moves}]
    for target, source in moves:
        order.insert(target, source)
    return step.function("transpose", x, perm=order)


def _moveaxis(step: Step, x: Any) -> Any:
    return _moved(step, x, list(zip(step.operation.source, step.operation.destination, strict=True)))


def _swapaxes(step: Step, x: Any) -> Any:
    first, second = step.operation.axis1, step.operation.axis2
    return _moved(step, x, [(first, second), (second, first)])


def _getitem(step: Step, x: Any, key: Any) -> Any:
    parts = tuple(key) if isinstance(key, (tuple, list)) else (key,)  # a list after loading from a file
    if not all(isinstance(part, (int, slice, type(None), type(Ellipsis))) for part in parts):
        raise RefusalError("picks by a tensor; only numbers and slices can cross")
    getitem = op_layers().SlicingOpLambda(tensorflow().__operators__.getitem, name=step.called())
    return getitem(x, [_savable(part) for part in _without_ellipsis(parts, x.shape.rank)])


def _without_ellipsis(parts: tuple[Any, ...], rank: int) -> list[Any]:
    """The same places with `...` written out, which can't be saved."""
    if Ellipsis not in parts:
        return list(parts)
    where = parts.index(Ellipsis)
    named = sum(part is not None and part is not Ellipsis for part in parts)
    return [*parts[:where], *[slice(None)] * (rank - named), *parts[where + 1 :]]


def _savable(part: Any) -> Any:
    """A slice in the form in which the layer saves it."""
    return {"start": part.start, "stop": part.stop, "step": part.step} if isinstance(part, slice) else part


def _take(step: Step, x: Any, indices: Any) -> Any:
    if step.operation.axis is None or is_symbolic(indices):
        raise RefusalError("takes by a tensor or from all numbers at once; only fixed places along an axis can cross")
    places = np.asarray(indices)
    size = x.shape[step.operation.axis]
    if size is None and (places < 0).any():
        raise RefusalError("counts from the end of an axis without a fixed size")
    places = places if size is None else places % size
    return step.function("gather", x, places, axis=step.operation.axis)


def _split(step: Step, x: Any) -> Any:
    parts, axis = step.operation.indices_or_sections, step.operation.axis
    if isinstance(parts, int):
        return step.function("split", x, parts, axis=axis)
    if x.shape[axis] is None:
        raise RefusalError("splits an axis without a fixed size")
    return step.function("split", x, np.diff([0, *parts, x.shape[axis]]).tolist(), axis=axis)


def _where(step: Step, condition: Any, x1: Any = None, x2: Any = None) -> Any:
    if x1 is None or x2 is None:
        raise RefusalError("asks where something is, whose answer has no fixed shape")
    condition = step.cast(condition, "bool")
    return step.function("where", condition, step.cast(x1, step.dtype), step.cast(x2, step.dtype))


def _pad(step: Step, x: Any, constant_values: Any = None) -> Any:
    operation = step.operation
    return step.function(
        "pad", x, operation.pad_width, mode=operation.mode.upper(), constant_values=constant_values or 0
    )


def _flip(step: Step, x: Any) -> Any:
    axis = step.operation.axis
    axes = range(x.shape.rank) if axis is None else [axis] if isinstance(axis, int) else axis
    return step.function("reverse", x, axis=list(axes))


def _normalize(step: Step, x: Any) -> Any:
    operation = step.operation
    if operation.order != 2:
        raise RefusalError(f"has order={operation.order}; only the Euclidean norm can cross")
    epsilon = keras().config.epsilon() if operation.epsilon is None else operation.epsilon
    # TensorFlow compares with the square of the norm.
    return step.function("math.l2_normalize", x, axis=operation.axis, epsilon=epsilon**2)


def _einsum(step: Step, *operands: Any) -> Any:
    operation = step.operation
    return step.function("einsum", operation.subscripts, *(step.cast(x, step.dtype) for x in operands))


def _one_hot(step: Step, x: Any) -> Any:
    operation = step.operation
    return step.function("one_hot", step.cast(x, "int32"), operation.num_classes, axis=operation.axis, dtype=step.dtype)


def _round(step: Step, x: Any) -> Any:
    if step.operation.decimals != 0:
        raise RefusalError(f"has decimals={step.operation.decimals}, which TensorFlow does not know")
    return step.function("round", x)


def _to_dtype(step: Step, x: Any) -> Any:
    return step.function("cast", x, step.dtype)


_RULES: dict[str, Callable[..., Any]] = {
    "Abs": _same("abs"),
    "Absolute": _same("abs"),
    "Add": _arithmetic("add", "Add"),
    "All": _reduction("reduce_all"),
    "Amax": _reduction("reduce_max"),
    "Amin": _reduction("reduce_min"),
    "Any": _reduction("reduce_any"),
    "Argmax": _extremum("argmax"),
    "Argmin": _extremum("argmin"),
    "Cast": _to_dtype,
    "Ceil": _same("math.ceil"),
    "Celu": _celu,
    "Clip": _clip,
    "Concatenate": _concatenate,
    "ConvertToTensor": _to_dtype,
    "Copy": _same("identity"),
    "Cos": _same("cos"),
    "Divide": _arithmetic("divide"),
    "Einsum": _einsum,
    "Elu": lambda step, x: step.layer("ELU", x, alpha=step.operation.alpha),
    "Equal": _comparison("equal"),
    "Erf": _same("math.erf"),
    "Exp": _same("exp"),
    "ExpandDims": _expand_dims,
    "Flip": _flip,
    "Floor": _same("floor"),
    "FloorDivide": _arithmetic("math.floordiv"),
    "Gelu": _gelu,
    "GetItem": _getitem,
    "Greater": _comparison("greater"),
    "GreaterEqual": _comparison("greater_equal"),
    "HardSigmoid": _activation("hard_sigmoid"),
    "HardSilu": _activation("hard_silu"),
    "HardTanh": _activation("hard_tanh"),
    "LeakyRelu": lambda step, x: step.layer("LeakyReLU", x, alpha=step.operation.negative_slope),
    "Less": _comparison("less"),
    "LessEqual": _comparison("less_equal"),
    "Log": _same("math.log"),
    "Log1p": _same("math.log1p"),
    "LogSigmoid": _activation("log_sigmoid"),
    "LogSoftmax": lambda step, x: step.function("nn.log_softmax", x, axis=step.operation.axis),
    "LogicalAnd": _same("logical_and"),
    "LogicalNot": _same("logical_not"),
    "LogicalOr": _same("logical_or"),
    "Logsumexp": _reduction("reduce_logsumexp"),
    "Matmul": _arithmetic("matmul"),
    "Max": _reduction("reduce_max"),
    "Maximum": _arithmetic("maximum", "Maximum"),
    "Mean": _reduction("reduce_mean"),
    "Min": _reduction("reduce_min"),
    "Minimum": _arithmetic("minimum", "Minimum"),
    "Mod": _arithmetic("math.floormod"),
    "Moveaxis": _moveaxis,
    "Multiply": _arithmetic("multiply", "Multiply"),
    "Negative": _same("negative"),
    "Normalize": _normalize,
    "NotEqual": _comparison("not_equal"),
    "OneHot": _one_hot,
    "OnesLike": lambda step, x: step.function("ones_like", x, dtype=step.dtype),
    "Pad": _pad,
    "Power": _arithmetic("pow"),
    "Prod": _reduction("reduce_prod"),
    "Reciprocal": _same("math.reciprocal"),
    "Relu": _activation("relu"),
    "Relu6": _activation("relu6"),
    "Repeat": lambda step, x: step.function("repeat", x, step.operation.repeats, axis=step.operation.axis),
    "Reshape": lambda step, x: step.function("reshape", x, step.operation.newshape),
    "Round": _round,
    "Rsqrt": _same("math.rsqrt"),
    "Selu": _activation("selu"),
    "Sigmoid": _activation("sigmoid"),
    "Sign": _same("sign"),
    "Silu": _activation("silu"),
    "Sin": _same("sin"),
    "Softmax": _softmax,
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "Split": _split,
    "Sqrt": _same("sqrt"),
    "Square": _same("square"),
    "Squeeze": lambda step, x: step.function("squeeze", x, axis=step.operation.axis),
    "Stack": _stack,
    "Std": _reduction("math.reduce_std"),
    "StopGradient": _same("stop_gradient"),
    "Subtract": _arithmetic("subtract", "Subtract"),
    "Sum": _reduction("reduce_sum"),
    "Swapaxes": _swapaxes,
    "Take": _take,
    "Tanh": _activation("tanh"),
    "Tile": lambda step, x: step.function("tile", x, step.operation.repeats),
    "Transpose": lambda step, x: step.function("transpose", x, perm=step.operation.axes),
    "TrueDivide": _arithmetic("divide"),
    "Unstack": lambda step, x: step.function("unstack", x, num=step.operation.num, axis=step.operation.axis),
    "Var": _reduction("math.reduce_variance"),
    "Where": _where,
    "ZerosLike": lambda step, x: step.function("zeros_like", x, dtype=step.dtype),
}
