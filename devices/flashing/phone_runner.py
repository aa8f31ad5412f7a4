"""The program that runs a model on a phone: started with a time limit, its exit code and what it prints kept.

``benchmark_model`` is that of TensorFlow Lite, which prints ``Inference timings in us: … Inference (avg): 5685.2``
(tensorflow/lite/tools/benchmark, README). Any other program is given the artifact's path, ends with 0 where the model
runs, and may print a latency, such as ``5.7 ms``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import ModelLoadError, ModelTimeoutError

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from tinsmith.devices.flashing.phone_script import PhoneScript

__all__ = ["BENCHMARK_MODEL", "Checked", "Runner", "latency_ms_of"]

BENCHMARK_MODEL = "benchmark_model"
_MARGIN_S = 30.0
_AVERAGE_US = re.compile(r"Inference \(avg\): *([0-9.]+(?:e[+-]?\d+)?)", re.IGNORECASE)
_SAID = re.compile(r"\b(\d+(?:\.\d+)?) ?(us|ms|s)\b")
_PER_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A run that ended well.

    Attributes:
        program: That ran the model.
        latency_ms: That it has printed; None where it printed none.
    """

    program: str
    latency_ms: float | None

    @property
    def said(self) -> str:
        """For people."""
        latency = "it prints no latency" if self.latency_ms is None else f"it prints {self.latency_ms:.4g} ms"
        return f"exit code 0; {latency}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A program on a phone.

    Attributes:
        path: Where it lies there.
        script: Of the phone.
    """

    path: PurePosixPath
    script: PhoneScript

    def check(self, artifact: PurePosixPath, *, time_limit_s: float) -> Checked:
        """Run an artifact.

        Raises:
            ModelTimeoutError: It did not end in time, and was killed.
            ModelLoadError: It ended with another exit code than 0.
            DeviceError: The phone was lost.
        """
        limit, limit_s = f"{time_limit_s:g}", time_limit_s + _MARGIN_S
        command = [str(self.path), *self._arguments(artifact)]
        ran = self.script.run("try", limit, *command, doing="running the model", time_limit_s=limit_s)
        text, _, end = ran.decode(errors="replace").rstrip("\n").rpartition("\n")
        code, when = end.split()
        if code == "0":
            return Checked(program=self.path.name, latency_ms=latency_ms_of(text))
        if when == "late":
            raise ModelTimeoutError(
                f"{self.path.name} did not end within {limit} s", hint="give it longer with --time-limit"
            )
        words = text.strip().splitlines()
        said = f": {words[-1].strip()[:200]}" if words else ""
        killed = ", as where memory runs out" if code == "137" else ""
        raise ModelLoadError(
            f"{self.path.name} ended with exit code {code}{killed}{said}",
            hint=f"run it by hand: adb shell {' '.join(command)}",
        )

    def _arguments(self, artifact: PurePosixPath) -> list[str]:
        return [f"--graph={artifact}"] if self.path.name.startswith(BENCHMARK_MODEL) else [str(artifact)]


def latency_ms_of(text: str) -> float | None:
    """The latency that a program has printed, the last one where it printed several; None where it printed none."""
    if average := _AVERAGE_US.findall(text):
        return float(average[-1]) / 1e3
    if said := _SAID.findall(text):
        number, unit = said[-1]
        return float(number) * _PER_MS[unit]
    return None
