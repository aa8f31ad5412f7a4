"""The one way to run an artifact anywhere: float arrays in and out, whatever the artifact stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinsmith.runtime.engines import choose_engine, open_engine
from tinsmith.runtime.errors import DataError, ModelLoadError, UnsupportedOperatorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from tinsmith.runtime.engines import Engine
    from tinsmith.runtime.tensors import Quantization, TensorSpec

    Array = NDArray[np.generic]

__all__ = ["Session", "artifact_format", "open_session", "to_real", "to_stored"]

_TFLITE_MAGIC = b"TFL3"
_TRAINED = (".keras", ".h5", ".hdf5")
_FORMATS = {".tflite": "tflite", ".onnx": "onnx"}


class Session:
    """An engine with names, checks and float arrays around it; not thread-safe, use one a thread.

    Close it, or use it as a context manager.
    """

    def __init__(self, engine: Engine) -> None:
        for spec in (*engine.inputs, *engine.outputs):
            if spec.dtype == "str":
                raise UnsupportedOperatorError(
                    f"{spec.name} holds strings, and a session runs numbers only",
                    hint="tokenise the text before the model, and export the model without its text layer",
                )
        self.engine = engine
        self.inputs = engine.inputs
        self.outputs = engine.outputs
        self._names = {spec.name for spec in self.inputs}
        self._inbound = tuple((spec.name, _Inbound(spec)) for spec in self.inputs)
        self._outbound = tuple((spec.name, _outbound(spec)) for spec in self.outputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on real numbers.

        Args:
            feeds: One array an input name. A quantized input takes real numbers as float32 or float64, which are
                rounded to its grid, or integers of its stored dtype, which are taken as they are.

        Returns:
            One array an output name; quantized outputs come back as float32.

        Raises:
            DataError: A name, dtype or shape does not fit.
            ModelError: The engine failed.
        """
        if feeds.keys() != self._names:
            raise _wrong_names(feeds, self._names)
        stored = self.engine.run([inbound(feeds[name]) for name, inbound in self._inbound])
        return {
            name: array if convert is None else convert(array)
            for (name, convert), array in zip(self._outbound, stored, strict=True)
        }

    def run_raw(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on stored dtypes, without any conversion; raises as ``run``."""
        if feeds.keys() != self._names:
            raise _wrong_names(feeds, self._names)
        for name, inbound in self._inbound:
            inbound.check_stored(feeds[name])
        stored = self.engine.run([feeds[name] for name, _ in self._inbound])
        return {spec.name: array for spec, array in zip(self.outputs, stored, strict=True)}

    def zeros(self, batch: int = 1) -> dict[str, Array]:
        """Feeds of zeros in the stored dtypes, with every free axis at 1 but the first, which is ``batch``."""
        return {spec.name: np.zeros(spec.fixed(batch), dtype=spec.dtype) for spec in self.inputs}

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_session(
    path: Path, *, engine: str | None = None, accelerator: str = "cpu", threads: int = 1, time_limit_s: float = 60.0
) -> Session:
    """Open an artifact after a child process has loaded it and run it once.

    A damaged or hostile file kills or hangs the child, never this process.

    Args:
        path: A .tflite or .onnx file.
        engine: Its name; None takes the default of the format.
        accelerator: ``cpu``, or names in the order to try them.
        threads: At least 1.
        time_limit_s: For the child's load and first run together.

    Raises:
        ModelLoadError: The file can't be read, or the engine refused it or died on it.
        ModelTimeoutError: It did not load and answer in time.
        MissingDependencyError: The engine is not installed.
        AcceleratorError: No accelerator of the list took the model.
    """
    from tinsmith.runtime.sandbox import Sandbox

    with Sandbox(time_limit_s=time_limit_s) as sandbox:
        sandbox.open(path, engine=engine, accelerator=accelerator, threads=threads)
    return open_vetted(path, engine=engine, accelerator=accelerator, threads=threads)


def open_vetted(path: Path, *, engine: str | None, accelerator: str, threads: int) -> Session:
    """Open a file that a child process has accepted before; raises as ``open_session``."""
    choice = choose_engine(artifact_format(path), engine)
    return Session(open_engine(path, choice, accelerator=accelerator, threads=threads))


def artifact_format(path: Path) -> str:
    """``tflite`` or ``onnx``, by the file's content, or by its name where the content does not say.

    Raises:
        ModelLoadError: There is no such file, or it is neither.
        UsageError: It is a trained model.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise ModelLoadError(f"cannot read {path}: {error.strerror}", hint="check the path") from error
    if head[4:] == _TFLITE_MAGIC:
        return "tflite"
    if path.suffix in _FORMATS:
        return _FORMATS[path.suffix]
    if path.suffix in _TRAINED:
        raise UsageError(
            f"{path} is a trained model, and only .tflite and .onnx files run on a device",
            hint=f"convert it first: tinsmith convert {path} -o {path.stem}.tflite",
        )
    raise ModelLoadError(f"{path} is no .tflite or .onnx file", hint="`tinsmith formats` lists what tinsmith reads")


class _Inbound:
    """Checks one input and turns it into the stored dtype."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._dtype = np.dtype(spec.dtype)
        self._accepted: tuple[int, ...] | None = None
        self._quantize = _quantizer(spec.quantization, self._dtype)

    def __call__(self, array: Array) -> Array:
        if array.shape != self._accepted:
            self._check_shape(array)
        if array.dtype == self._dtype:
            return array
        if array.dtype.kind == "f" and self._quantize is not None:
            return self._quantize(array)
        if np.can_cast(array.dtype, self._dtype, casting="same_kind") and self._holds(array):
            return array.astype(self._dtype)
        raise DataError(
            f"input {self._spec.name!r} takes {self._spec.dtype}, and {array.dtype} does not convert to it safely"
        )

    def _holds(self, array: Array) -> bool:
        """Whether integers stay what they are; those of another dtype than the stored one are not on the grid."""
        if self._dtype.kind not in "iu" or array.dtype.kind not in "iu" or not array.size:
            return True
        limits = np.iinfo(self._dtype.name)
        return self._quantize is None and int(array.min()) >= limits.min and int(array.max()) <= limits.max

    def check_stored(self, array: Array) -> None:
        if array.shape != self._accepted:
            self._check_shape(array)
        if array.dtype != self._dtype:
            raise DataError(f"input {self._spec.name!r} stores {self._spec.dtype}, not {array.dtype}")

    def _check_shape(self, array: Array) -> None:
        wanted = self._spec.shape
        fits = array.ndim == len(wanted) and all(
            want is None or want == length for want, length in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise DataError(
                f"input {self._spec.name!r} has shape {list(array.shape)}, but the model takes {shape_text(wanted)}"
            )
        self._accepted = array.shape


def shape_text(shape: tuple[int | None, ...]) -> str:
    """A shape as people read it, free axes as ``?``."""
    return "[" + ", ".join("?" if n is None else str(n) for n in shape) + "]"


def quantize(array: Array, quantization: Quantization, dtype: np.dtype[np.integer[Any]]) -> Array:
    """Round real numbers to the nearest integer of ``dtype`` on the quantization's grid, saturating at its ends.

    Per-tensor only: inputs and outputs are never quantized slice by slice.
    """
    limits = np.iinfo(dtype.type)
    grid = np.multiply(array, np.float32(1.0 / quantization.scale[0]), dtype=np.float32)
    np.rint(grid, out=grid)
    grid += np.float32(quantization.zero_point[0])
    np.clip(grid, limits.min, limits.max, out=grid)
    return grid.astype(dtype)


def dequantize(array: Array, quantization: Quantization) -> NDArray[np.float32]:
    """The float32 numbers that stored integers stand for; per-tensor only."""
    real = array.astype(np.float32)
    real -= np.float32(quantization.zero_point[0])
    real *= np.float32(quantization.scale[0])
    return real


def to_stored(array: Array, spec: TensorSpec) -> Array:
    """What an input stores for an array, as ``Session.run`` does it; raises ``DataError`` where it does not fit."""
    return _Inbound(spec)(array)


def to_real(array: Array, spec: TensorSpec) -> Array:
    """The real numbers that stored integers of an output stand for; other outputs as they are."""
    convert = _outbound(spec)
    return array if convert is None else convert(array)


def _quantizer(quantization: Quantization | None, dtype: np.dtype[Any]) -> Callable[[Array], Array] | None:
    if quantization is None or dtype.kind not in "iu":
        return None
    return lambda array: quantize(array, quantization, dtype)


def _outbound(spec: TensorSpec) -> Callable[[Array], Array] | None:
    quantization = spec.quantization
    if quantization is None or np.dtype(spec.dtype).kind not in "iu":
        return None
    return lambda array: dequantize(array, quantization)


def _wrong_names(feeds: Mapping[str, Array], names: set[str]) -> DataError:
    return DataError(f"the model's inputs are {sorted(names)}, but {sorted(feeds)} were given")
