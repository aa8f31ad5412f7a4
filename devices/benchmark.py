"""Measure how fast an artifact runs, in processes of its own.

A confidence that comes from one process lies: medians of separate processes differ by 7 to 14 % on a shared machine,
while the spread inside one of them looks ten times smaller. So every measurement takes several processes.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from tinsmith.runtime.feeds import random_feeds
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.measurement import Measurement, ProcessRun
from tinsmith.runtime.profile import load_profile
from tinsmith.runtime.sandbox import OpenedModel, Sandbox

__all__ = ["Plan", "benchmark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure.

    Attributes:
        processes: How many processes, one after the other.
        runs: Timed runs in each of them.
        engine: Its name; None takes the default of the format.
        accelerator: ``cpu``, or names in the order to try them.
        threads: CPU threads; None takes the profile's.
        seed: Of the random input.
        time_limit_s: For loading, and for any single run.
    """

    processes: int = 5
    runs: int = 30
    engine: str | None = None
    accelerator: str = "cpu"
    threads: int | None = None
    seed: int = 0
    time_limit_s: float = 60.0


def benchmark(artifact: Path, plan: Plan | None = None, *, device: str = "local") -> Measurement:
    """Measure load time, run time and memory of an artifact on this machine.

    Args:
        artifact: A .tflite or .onnx file.
        plan: How; the default takes 150 runs over five processes, enough for p90 and p95.
        device: The name of a profile.

    Raises:
        ModelLoadError: The file can't be read, or the engine refused it or died on it.
        ModelTimeoutError: It did not load or answer in time.
        UsageError: There is no such profile or engine.
    """
    plan = plan or Plan()
    profile = load_profile(device)
    threads = plan.threads or profile.threads
    before = _environment()
    measured = [_measure_process(artifact, plan, threads=threads) for _ in range(plan.processes)]
    opened = measured[0][0]
    return Measurement(
        artifact=artifact.name,
        artifact_sha256=sha256_of(artifact),
        size_bytes=artifact.stat().st_size,
        device=profile.name,
        engine=opened.engine,
        engine_version=opened.version,
        accelerator=opened.accelerator,
        placement=opened.placement,
        threads=threads,
        environment={**before, "load_after": _load_average()},
        processes=tuple(process for _, process in measured),
    )


def _measure_process(artifact: Path, plan: Plan, *, threads: int) -> tuple[OpenedModel, ProcessRun]:
    with Sandbox(time_limit_s=plan.time_limit_s) as sandbox:
        opened = sandbox.open(artifact, engine=plan.engine, accelerator=plan.accelerator, threads=threads)
        feeds = random_feeds(opened.inputs, seed=plan.seed)
        first_ms, warmup_runs = sandbox.warm_up(feeds)
        samples_ns, peak_bytes = sandbox.time(feeds, runs=plan.runs)
    return opened, ProcessRun(
        load_ms=opened.load_ms,
        first_ms=first_ms,
        warmup_runs=warmup_runs,
        samples_ns=tuple(samples_ns),
        peak_memory_bytes=peak_bytes,
    )


def _environment() -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _first_field(Path("/proc/cpuinfo"), "model name"),
        "cores": str(os.cpu_count()),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "load_before": _load_average(),
    }


def _load_average() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def _first_field(path: Path, name: str) -> str:
    for line in _read(path).splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "unknown"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"
