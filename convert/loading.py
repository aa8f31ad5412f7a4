"""Load trained models, always in safe mode: nothing that an author wrote runs on loading, and nothing is unpickled."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

from tinsmith.convert.frameworks import require
from tinsmith.convert.trained import TrainedModel, from_keras, from_signature
from tinsmith.runtime.errors import ModelLoadError, UnsafeModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinsmith.convert.model import Model

__all__ = ["load_trained"]

# A .keras file is a zip of arrays that hardly shrink; one that claims to grow more than this is made to fill a disk.
_GROWTH = 50
_ALWAYS_FINE_BYTES = 1 << 30

# TensorFlow operators that reach outside the graph when they run.
_REACHING_OUT = frozenset(["EagerPyFunc", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile"])
_DEFAULT_SIGNATURE = "serving_default"


def load_trained(model: Model, *, allow_unsafe: bool = False) -> TrainedModel:
    """Load a Keras model or SavedModel with the framework that its file needs.

    Args:
        model: In the format ``keras``, ``hdf5`` or ``savedmodel``.
        allow_unsafe: Load ``Lambda`` layers, whose code the author of the file wrote.

    Raises:
        ModelLoadError: The file is damaged, holds weights only, or needs a class that is not here.
        UnsafeModelError: It holds code, and ``allow_unsafe`` was not given.
        MissingDependencyError: TensorFlow is not installed.
    """
    if model.format == "keras":
        return _load_zip(model.path, allow_unsafe=allow_unsafe)
    if model.format == "hdf5":
        return _load_hdf5(model.path, allow_unsafe=allow_unsafe)
    if model.format == "savedmodel":
        return _load_savedmodel(model.path)
    raise ModelLoadError(f"{model.path} is an artifact, not a trained model", hint="open it with a session")


def _load_zip(path: Path, *, allow_unsafe: bool) -> TrainedModel:
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(path, archive)
            config = json.loads(archive.read("config.json"))
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, NotImplementedError, EOFError) as error:
        raise _damaged(path, error) from error
    _check_config(path, config, allow_unsafe=allow_unsafe)
    return _load_keras(path, version=str(version), allow_unsafe=allow_unsafe)


def _load_hdf5(path: Path, *, allow_unsafe: bool) -> TrainedModel:
    h5py = require("h5py", needed_for="HDF5 models")
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            version = _text(file.attrs.get("keras_version", "2"))
        document = json.loads(_text(config)) if config is not None else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(path, error) from error
    if document is None:
        raise ModelLoadError(
            f"{path} holds weights only, no model",
            hint="save the whole model: model.save('model.keras'), not model.save_weights(...)",
        )
    _check_config(path, document, allow_unsafe=allow_unsafe)
    return _load_keras(path, version=version, allow_unsafe=allow_unsafe)


def _load_keras(path: Path, *, version: str, allow_unsafe: bool) -> TrainedModel:
    """Load with Keras 3 what Keras 3 wrote, and with tf_keras what came before.

    Keras 3 refuses older arguments (``groups`` of DepthwiseConv2D, ``time_major`` of LSTM); tf_keras knows them all.
    """
    framework: Any = "keras" if int(version.split(".")[0]) >= 3 else "tf_keras"
    keras = require(framework, needed_for=f"a model of Keras {version}")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not allow_unsafe)
    except Exception as error:  # damaged files raise anything from inside h5py and Keras
        raise _damaged(path, error) from error
    return from_keras(model, framework)


def _load_savedmodel(path: Path) -> TrainedModel:
    tf = require("tensorflow", needed_for="a SavedModel")
    _refuse_reaching_out(path)
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # damaged files raise anything from inside protobuf and TensorFlow
        raise _damaged(path, error) from error
    return from_signature(loaded, _signature(path, dict(loaded.signatures)))


def _signature(path: Path, signatures: dict[str, Any]) -> Any:
    if _DEFAULT_SIGNATURE in signatures:
        return signatures[_DEFAULT_SIGNATURE]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    found = ", ".join(signatures) or "none"
    raise ModelLoadError(
        f"{path} has no signature {_DEFAULT_SIGNATURE!r} (found: {found})",
        hint=f"export it with exactly one signature, or name one {_DEFAULT_SIGNATURE}",
    )


def _refuse_reaching_out(path: Path) -> None:
    """Refuse operators that would read or write files or call Python while the model runs."""
    saved_model_pb2 = require("tensorflow.core.protobuf.saved_model_pb2", needed_for="a SavedModel")
    try:
        proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf raises its own errors from two implementations
        raise _damaged(path, error) from error
    used = {node.op for meta in proto.meta_graphs for node in _nodes(meta.graph_def)}
    if found := sorted(used & _REACHING_OUT):
        raise UnsafeModelError(
            f"{path} holds {', '.join(found)}, which reaches outside the model when it runs",
            hint="export the model without file access and Python functions",
        )


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _refuse_bomb(path: Path, archive: zipfile.ZipFile) -> None:
    claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > max(_ALWAYS_FINE_BYTES, _GROWTH * path.stat().st_size):
        raise ModelLoadError(
            f"{path} claims to unpack to {claimed:,} bytes from {path.stat().st_size:,}",
            hint="a model does not shrink like that; get the file again from its source",
        )


def _check_config(path: Path, config: Any, *, allow_unsafe: bool) -> None:
    """Look through a model's configuration before any of it is built."""
    lambdas = [name for cls, name, _ in _described(config) if cls == "Lambda"]
    if lambdas and not allow_unsafe:
        raise UnsafeModelError(
            f"{path} holds Lambda layers ({', '.join(lambdas)}), which run code of the file's author",
            hint="if you trust the author: --force unsafe-layers; better: replace them by keras.ops or a named layer",
        )
    foreign = sorted({f"{name} ({module}.{cls})" for cls, name, module in _described(config) if _is_foreign(module)})
    if foreign:
        raise ModelLoadError(
            f"{path} needs classes that Keras does not have: {', '.join(foreign)}",
            hint="export the model as a SavedModel where its classes are known: model.export('folder')",
        )


def _is_foreign(module: str | None) -> bool:
    return module is not None and module.split(".")[0] not in ("keras", "tf_keras", "builtins", "tensorflow")


def _described(config: Any) -> Iterator[tuple[str, str, str | None]]:
    """Every object in a configuration as (class, name, module); older files have no modules, and custom ones a name."""
    if isinstance(config, list):
        for item in config:
            yield from _described(item)
    if not isinstance(config, dict):
        return
    if "class_name" in config:
        inner = config.get("config")
        name = inner.get("name", "?") if isinstance(inner, dict) else "?"
        module = config.get("module")
        custom = config.get("registered_name") if "module" in config and module is None else None
        yield str(config["class_name"]), str(name), custom or module
    for value in config.values():
        yield from _described(value)


def _damaged(path: Path, error: BaseException) -> ModelLoadError:
    return ModelLoadError(
        f"{path} can't be loaded: {type(error).__name__}: {first_line(error)[:300]}",
        hint="if it is damaged, get it again from its source; `tinsmith inspect` shows what it holds",
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
