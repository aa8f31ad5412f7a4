"""LiteRT's own profiler, which its Python interface does not offer: asked through the C interface of its library.

Written against litert/c of LiteRT 2.3 and tried with its wheel. A library whose functions are missing or refuse says
so; one whose functions take something else may die, and with it only the child process that asks.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import ModelError
from tinsmith.runtime.operator_times import OperatorTime, OperatorTimes, typical_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["profile"]

_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
# LiteRtRankedTensorType: an int, then LiteRtLayout, which is its rank with a flag, 8 dimensions and 8 strides
_LAYOUT_AT, _LAYOUT_BYTES = 4, 4 + 8 * 4 + 8 * 4
_TYPE_BYTES = 512  # with room to spare
_OPERATOR, _DELEGATED = 1 << 1, 1 << 3  # of LiteRtProfilerEventType
_UNITS = {_OPERATOR: "cpu", _DELEGATED: "xnnpack"}

_Handle = ctypes.c_void_p
_FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_size_t), ("in_use", ctypes.c_size_t), ("private", ctypes.c_size_t))


class _Event(ctypes.Structure):
    """ProfiledEventData of litert_profiler_event.h."""

    _fields_ = (
        ("tag", ctypes.c_char_p), ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64), ("elapsed_us", ctypes.c_uint64),
        ("before", _Memory), ("after", _Memory),
        ("metadata_1", ctypes.c_uint64), ("metadata_2", ctypes.c_uint64), ("source", ctypes.c_int),
    )  # fmt: skip


def profile(path: Path, threads: int, feeds: Mapping[str, NDArray[np.generic]], *, runs: int) -> OperatorTimes:
    """Compile a model with the profiler on, and run it; for files that the interpreter has accepted in this process.

    What it makes is freed with the process.

    Args:
        path: A .tflite file with one signature, or the main graph.
        threads: CPU threads.
        feeds: Arrays by name; where the names are others, in the order of the inputs.
        runs: How often, after one run that does not count.
    """
    try:
        model = _Profiled(path, threads)
        model.fill(feeds)
        model.run()
        times = [model.profiled_run() for _ in range(runs)]
    except (ModelError, OSError, AttributeError) as error:
        return OperatorTimes(operators=None, why=f"LiteRT's profiler: {error}")
    if not times[0] or any([name for name, _, _ in one] != [name for name, _, _ in times[0]] for one in times):
        return OperatorTimes(operators=None, why="LiteRT's profiler told other operators from run to run, or none")
    return OperatorTimes(operators=tuple(map(_typical, zip(*times, strict=True))), runs=runs)


def _typical(alike: Sequence[tuple[str, str, int]]) -> OperatorTime:
    name, unit, _ = alike[0]
    time_ns = typical_ns([elapsed_us for _, _, elapsed_us in alike])
    return OperatorTime(name="", operator=name, unit=unit, time_ns=time_ns)


class _Profiled:
    """One compiled model with its buffers."""

    def __init__(self, path: Path, threads: int) -> None:
        import ai_edge_litert

        # a stub of from_file crashes on damaged files: the content comes from memory
        self._library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).with_name("libLiteRt.so")))
        self._content = path.read_bytes()
        self._kept: list[object] = []
        self._environment = self._made("LiteRtCreateEnvironment", ctypes.c_int(0), None)
        size = ctypes.c_size_t(len(self._content))
        self._model = self._made("LiteRtCreateModelFromBuffer", self._environment, self._content, size)
        self._compiled = self._made("LiteRtCreateCompiledModel", self._environment, self._model, self._options(threads))
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._compiled)
        self._signature = self._made("LiteRtGetModelSignature", self._model, ctypes.c_size_t(0))
        self._inputs = [self._buffer("Input", number) for number in range(self._count("Input"))]
        self._outputs = [self._buffer("Output", number) for number in range(self._count("Output"))]

    def fill(self, feeds: Mapping[str, NDArray[np.generic]]) -> None:
        """Write what goes in."""
        names = [self._name(number) for number in range(len(self._inputs))]
        arrays = [feeds[name] for name in names] if set(names) == set(feeds) else list(feeds.values())
        for buffer, array in zip(self._inputs, arrays, strict=True):
            size = ctypes.c_size_t()
            self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
            if size.value != array.nbytes:
                raise ModelError(f"an input takes {size.value} bytes there, not {array.nbytes}")
            content = array.tobytes()
            place = ctypes.c_void_p()
            self._call("LiteRtLockTensorBuffer", buffer, ctypes.byref(place), ctypes.c_int(_WRITE))
            ctypes.memmove(place, content, len(content))
            self._call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> None:
        """Run once."""
        inputs = (_Handle * len(self._inputs))(*self._inputs)
        outputs = (_Handle * len(self._outputs))(*self._outputs)
        self._call(
            "LiteRtRunCompiledModel", self._compiled, ctypes.c_size_t(0),
            ctypes.c_size_t(len(inputs)), inputs, ctypes.c_size_t(len(outputs)), outputs,
        )  # fmt: skip

    def profiled_run(self) -> list[tuple[str, str, int]]:
        """Run once; gives each operator's name, unit and microseconds, in the order in which they ran."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self.run()
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(1, count.value))()
        if count.value:
            self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return [(event.tag.decode(errors="replace"), _UNITS[event.type], event.elapsed_us)
                for event in events if event.type in _UNITS]  # fmt: skip

    def _options(self, threads: int) -> Any:
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        self._add(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._add(options, b"xnnpack", b"num_threads = %d\n" % threads)
        return options

    def _add(self, options: Any, name: bytes, toml: bytes) -> None:
        text, free = ctypes.create_string_buffer(toml), _FREE(lambda _: None)
        self._kept += [text, free]
        opaque = self._made("LiteRtCreateOpaqueOptions", name, text, free)
        self._call("LiteRtAddOpaqueOptions", options, opaque)

    def _count(self, kind: str) -> int:
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{kind}s", self._signature, ctypes.byref(count))
        return count.value

    def _name(self, number: int) -> str:
        name = ctypes.c_char_p()
        self._call("LiteRtGetSignatureInputName", self._signature, ctypes.c_size_t(number), ctypes.byref(name))
        return (name.value or b"").decode()

    def _buffer(self, kind: str, number: int) -> Any:
        """A buffer of the shape that the compiled model has settled on; the file may leave axes free."""
        at = ctypes.c_size_t(number)
        tensor = self._made(f"LiteRtGetSignature{kind}TensorByIndex", self._signature, at)
        about = ctypes.create_string_buffer(_TYPE_BYTES)
        self._call("LiteRtGetRankedTensorType", tensor, about)
        self._settle(kind, at, about)
        needs = self._made(f"LiteRtGetCompiledModel{kind}BufferRequirements", self._compiled, ctypes.c_size_t(0), at)
        return self._made("LiteRtCreateManagedTensorBufferFromRequirements", self._environment, about, needs)

    def _settle(self, kind: str, at: ctypes.c_size_t, about: Any) -> None:
        first, layout = ctypes.c_size_t(0), ctypes.byref(about, _LAYOUT_AT)
        if kind == "Input":
            self._call("LiteRtGetCompiledModelInputTensorLayout", self._compiled, first, at, layout)
            return
        layouts = (ctypes.c_char * _LAYOUT_BYTES * self._count("Output"))()
        count = ctypes.c_size_t(len(layouts))
        name = "LiteRtGetCompiledModelOutputTensorLayouts"
        self._call(name, self._compiled, first, count, layouts, ctypes.c_bool(False))
        ctypes.memmove(layout, layouts[at.value], _LAYOUT_BYTES)

    def _made(self, name: str, *arguments: Any) -> Any:
        handle = _Handle()
        self._call(name, *arguments, ctypes.byref(handle))
        return handle

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise ModelError(f"{name} gave status {status}")
