"""A layer's configuration, said in the words of tf_keras."""

from __future__ import annotations

import inspect
from typing import Any

from tinsmith.convert.bridge.engines import keras, tf_keras
from tinsmith.convert.bridge.obstacles import RefusalError

__all__ = ["dtype_of", "partner_class", "translated"]

# What every layer of tf_keras takes, beside what its constructor lists.
_BASE_KEYS = frozenset({"name", "trainable", "dtype", "activity_regularizer"})
# Keys that hide behind **kwargs in tf_keras, and are honoured there.
_HIDDEN_KEYS = frozenset({"zero_output_for_mask"})
# Keys whose values the layer's own rule translates.
_ACTIVATION_KEYS = frozenset({"activation", "recurrent_activation"})
# Keys without a partner that never change what a layer computes: how the same numbers are computed, and what only
# random numbers during training depend on.
_SILENT_KEYS = frozenset({"seed", "use_cudnn", "flash_attention", "lora_alpha"})
# Defaults that hide behind **kwargs in Keras 3.
_HIDDEN_DEFAULTS = {"rms_scaling": False}
# What a layout is said to be where tf_keras has no other.
_ONLY_LAYOUT = ("data_format", "channels_last")


def partner_class(layer: Any) -> Any:
    """The class of tf_keras that does what the layer's class does.

    Raises:
        RefusalError: The class is not one of Keras, or tf_keras has none like it.
    """
    kind = type(layer)
    if not kind.__module__.startswith("keras.src."):
        raise RefusalError("is a custom class, whose code can't be translated")
    partner = getattr(tf_keras().layers, kind.__name__, None)
    if partner is None:
        raise RefusalError(f"has no counterpart: tf_keras has no layer {kind.__name__}")
    return partner


def dtype_of(layer: Any) -> str:
    """The name of a layer's dtype policy, which both spell alike.

    Raises:
        RefusalError: The layer is quantized, or its parts have policies of their own.
    """
    policy = layer.dtype_policy
    if getattr(policy, "quantization_mode", None):
        raise RefusalError(
            f"is quantized already ({policy.name})", hint="start from the float model; tinsmith quantizes it"
        )
    if type(policy).__name__ not in ("DTypePolicy", "FloatDTypePolicy"):
        raise RefusalError(f"has the dtype policy {policy.name}, which tf_keras does not know")
    return str(policy.name)


def translated(layer: Any, kind: type, *, renamed: dict[str, str] | None = None) -> dict[str, Any]:
    """The arguments that make a ``kind`` of tf_keras do what the layer does.

    Args:
        layer: Of Keras 3, other than a wrapper.
        kind: Its partner.
        renamed: The name in tf_keras of each key that has another one there.

    Raises:
        RefusalError: A key that changes the result has no counterpart.
    """
    config = {(renamed or {}).get(key, key): value for key, value in layer.get_config().items()}
    config["dtype"] = dtype_of(layer)
    known = _parameters(kind).keys() | _BASE_KEYS | _HIDDEN_KEYS
    defaults = _parameters(type(layer))
    result = {}
    for key, value in config.items():
        if key in known:
            result.update(_value(key, value))
        elif not _is_silent(key, value, defaults):
            raise RefusalError(f"has {key}={value!r}, which tf_keras does not know")
    return result


def _parameters(kind: type) -> dict[str, Any]:
    """The parameters of a class and its bases with their defaults, without those that are passed through."""
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD or parameter.kind is parameter.KEYWORD_ONLY:
                found.setdefault(name, parameter.default)
    return found


def _is_silent(key: str, value: Any, defaults: dict[str, Any]) -> bool:
    if key in _SILENT_KEYS or (key, value) == _ONLY_LAYOUT:
        return True
    if key in _HIDDEN_DEFAULTS:
        return bool(value == _HIDDEN_DEFAULTS[key])
    return key in defaults and bool(defaults[key] == value)


def _value(key: str, value: Any) -> dict[str, Any]:
    """The key with its value in tf_keras; nothing where tf_keras's own default serves as well."""
    if key == "seed" and not isinstance(value, int):
        return {}
    if key in _ACTIVATION_KEYS or not isinstance(value, dict) or "class_name" not in value:
        return {key: value}
    family = str(value.get("module", "")).removeprefix("keras.")
    if family == "initializers":
        return _initializer(key, value)
    if family in ("regularizers", "constraints"):
        return {key: _built(family, value, key)}
    raise RefusalError(f"holds {key}={value['class_name']}, which tf_keras does not know")


def _initializer(key: str, value: dict[str, Any]) -> dict[str, Any]:
    """An initializer; one that can't cross is left out, because the weights cross anyway."""
    try:
        return {key: _built("initializers", value, key)}
    except RefusalError:
        return {}


def _built(family: str, value: dict[str, Any], key: str) -> Any:
    """An initializer, regularizer or constraint of tf_keras, made from what Keras 3 serialized."""
    class_name = value["class_name"]
    kind = getattr(getattr(tf_keras(), family), class_name, None)
    source = getattr(getattr(keras(), family), class_name, None)
    if kind is None or source is None:
        raise RefusalError(f"holds {key}={class_name}, which tf_keras does not know")
    known, defaults = _parameters(kind), _parameters(source)
    config = value.get("config") or {}
    unknown = [name for name in config if name not in known and not _is_silent(name, config[name], defaults)]
    if unknown:
        raise RefusalError(f"holds {key}={class_name} with {unknown[0]}, which tf_keras does not know")
    try:
        return kind(**{name: setting for name, setting in config.items() if name in known})
    except (TypeError, ValueError) as error:
        raise RefusalError(f"holds {key}={class_name}, which tf_keras does not take: {error}") from error
