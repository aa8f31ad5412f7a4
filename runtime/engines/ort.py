"""onnxruntime, the engine for .onnx files."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import AcceleratorError, MissingDependencyError, ModelError, ModelLoadError, first_line
from tinsmith.runtime.operator_times import OperatorTime, OperatorTimes, typical_ns
from tinsmith.runtime.placement import Placement
from tinsmith.runtime.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OrtEngine", "forbid_telemetry", "open_engine"]

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "string": "str",
}
_UNITS = {provider: name for name, provider in _PROVIDERS.items()}
_RECORD = "session.record_ep_graph_assignment_info"
_KERNEL = "_kernel_time"
_SILENT = 3  # errors still reach us as exceptions


class OrtEngine:
    """One onnxruntime session; see ``tinsmith.runtime.engines.Engine``."""

    name = "onnxruntime"
    refusals: tuple[str, ...] = ()

    def __init__(self, session: Any, *, version: str, accelerator: str, run_options: Any = None) -> None:
        self.version = version
        self.accelerator = accelerator
        self._session = session
        self._run_options = run_options
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self._input_names = [spec.name for spec in self.inputs]
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, feeds: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """Run once on stored dtypes."""
        try:
            outputs: list[NDArray[np.generic]] = self._session.run(
                self._output_names, dict(zip(self._input_names, feeds, strict=True)), self._run_options
            )
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise ModelError(f"onnxruntime failed while running the model: {first_line(error)}") from error
        return outputs

    def interrupt(self) -> None:
        """End the run that is under way before its next operator; a single operator that hangs goes on."""
        if self._run_options is not None:
            self._run_options.terminate = True

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def placement(self) -> Placement:
        """Where the operators run, those of loops' and branches' bodies among them; counted since onnxruntime 1.24."""
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            # a session that may not fall back to the CPU runs as a whole on what was asked for
            return Placement(units={self.accelerator: {}}, refusals=self.refusals)
        return Placement.counted(_placed(self._session), self.refusals)

    def operator_times(
        self, path: Path, threads: int, feeds: Sequence[NDArray[np.generic]], *, runs: int
    ) -> OperatorTimes:
        """See ``Profiling``; onnxruntime's own profiler, in a session of its own."""
        import tempfile
        from pathlib import Path

        import onnxruntime

        options = _options(onnxruntime, threads=threads, strict=self.accelerator != "cpu")
        options.enable_profiling = True
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = str(Path(folder) / "operators")
            session = onnxruntime.InferenceSession(str(path), options, providers=[_PROVIDERS[self.accelerator]])
            named = dict(zip(self._input_names, feeds, strict=True))
            for _ in range(runs + 1):
                session.run(self._output_names, named, self._run_options)
            events = json.loads(Path(session.end_profiling()).read_bytes())
        return OperatorTimes(operators=_operators(events, runs), runs=runs)


def _operators(events: Sequence[Mapping[str, Any]], runs: int) -> tuple[OperatorTime, ...]:
    """Each node without its first run, which pays for set-up; one that runs in a loop by its single turns."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            about = event["args"]
            key = (event["name"].removesuffix(_KERNEL), about["op_name"], about.get("provider", ""))
            found.setdefault(key, []).append(int(event["dur"]))
    return tuple(
        OperatorTime(
            name=name, operator=operator, unit=_UNITS.get(provider, provider),
            time_ns=typical_ns(times_us[len(times_us) // (runs + 1) :]),
        )
        for (name, operator, provider), times_us in found.items()
    )  # fmt: skip


def forbid_telemetry() -> None:
    """Keep onnxruntime from reporting home; must run before its first import.

    Its Linux wheels (seen in 1.32) hold Microsoft's 1DS telemetry, which writes a session number into the temp folder
    as soon as it is imported; ``disable_telemetry_events`` comes too late for that.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def open_engine(path: Path, *, accelerator: str, threads: int) -> OrtEngine:
    """Load an .onnx file.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        AcceleratorError: The execution provider is not here, or does not take every operator.
        ModelLoadError: onnxruntime refused the file.
    """
    forbid_telemetry()
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", extra="onnx", needed_for="running an .onnx file") from error
    provider = _provider(accelerator, onnxruntime.get_available_providers())
    options = _options(onnxruntime, threads=threads, strict=accelerator != "cpu")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        if accelerator != "cpu":
            raise AcceleratorError(f"{accelerator} does not take {path.name}: {first_line(error)}") from error
        raise ModelLoadError(f"onnxruntime {onnxruntime.__version__} can't load {path}: {first_line(error)}") from error
    if session.get_providers()[0] != provider:
        raise AcceleratorError(f"{accelerator} did not start; onnxruntime would have used {session.get_providers()[0]}")
    run_options = onnxruntime.RunOptions()
    run_options.log_severity_level = _SILENT
    version = onnxruntime.__version__
    return OrtEngine(session, version=version, accelerator=accelerator, run_options=run_options)


def _provider(accelerator: str, available: list[str]) -> str:
    if accelerator not in _PROVIDERS:
        raise AcceleratorError(
            f"there is no accelerator {accelerator!r} for .onnx files; known: {', '.join(_PROVIDERS)}"
        )
    if _PROVIDERS[accelerator] not in available:
        raise AcceleratorError(f"{accelerator}: this onnxruntime was built without {_PROVIDERS[accelerator]}")
    return _PROVIDERS[accelerator]


def _options(onnxruntime: Any, *, threads: int, strict: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    # A spinning pool keeps cores busy between requests: heat and battery for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(_RECORD, "1")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _placed(session: Any) -> Iterator[tuple[str, str]]:
    for part in session.get_provider_graph_assignment_info():
        for node in part.get_nodes():
            yield _UNITS.get(part.ep_name, part.ep_name), node.op_type


def _spec(node: Any) -> TensorSpec:
    kind = str(node.type)
    inner = kind.removeprefix("tensor(").removesuffix(")")
    if inner == kind:
        raise ModelLoadError(f"{node.name} is a {kind}; only tensors can be fed")
    return TensorSpec(
        name=str(node.name),
        dtype=_DTYPES.get(inner, inner),
        shape=tuple(n if isinstance(n, int) and n >= 0 else None for n in node.shape),
    )
