"""Thresholds that a measurement must keep, such as ``p90>12ms``: what a CI job fails on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.timing import runs_needed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tinsmith.devices.benchmarking.effort import Effort
    from tinsmith.devices.device import Device
    from tinsmith.runtime.measurement import Measurement

__all__ = ["FAILED", "KEPT", "UNJUDGED", "Judgement", "Threshold", "check_judgeable", "judge", "read_threshold"]

KEPT, FAILED, UNJUDGED = "kept", "failed", "not judged"

_TIME = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 2.0**20, "GiB": 2.0**30}
_ENERGY = {"uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0}
_RATE = {"/s": 1.0}
_FORM = re.compile(r"\s*([a-z]+\d*(?:\.\d+)?)\s*(>=|<=|>|<)\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*(\S*)\s*")
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")
_CROSSED: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda found, limit: found > limit,
    ">=": lambda found, limit: found >= limit,
    "<": lambda found, limit: found < limit,
    "<=": lambda found, limit: found <= limit,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantity:
    """What can be asked of a measurement.

    Attributes:
        units: What it takes, each in terms of the one that ``get`` gives.
        get: Reads it; None where the measurement does not hold it.
        timed: Whether it is a matter of time, which an emulated CPU says nothing of.
    """

    units: Mapping[str, float]
    get: Callable[[Measurement], float | None]
    timed: bool = True


_QUANTITIES: Mapping[str, _Quantity] = {
    "median": _Quantity(units=_TIME, get=lambda m: m.median_ms),
    "load": _Quantity(units=_TIME, get=lambda m: m.load_ms),
    "first": _Quantity(units=_TIME, get=lambda m: m.first_ms),
    "throughput": _Quantity(units=_RATE, get=lambda m: m.throughput),
    "energy": _Quantity(units=_ENERGY, get=lambda m: m.joules),
    "peak": _Quantity(units=_BYTES, get=lambda m: m.peak_memory_bytes, timed=False),
    "size": _Quantity(units=_BYTES, get=lambda m: m.size_bytes, timed=False),
}
_HINT = (
    "p50, p90, p95, p99 and other percentiles, median, load and first take ns, us, ms or s; throughput /s; "
    "energy uJ, mJ or J; peak and size B, kB, MB, GB, KiB, MiB or GiB: --fail-if 'p90>12ms'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Something that must not be so.

    Attributes:
        text: As the user wrote it, without spaces.
        quantity: Its name.
        sign: ``>``, ``>=``, ``<`` or ``<=``.
        limit: The number, in ``unit``.
        unit: As the user wrote it.
    """

    text: str
    quantity: str
    sign: str
    limit: float
    unit: str

    @property
    def percent(self) -> float | None:
        """Which percentile it asks for; None for other quantities."""
        found = _PERCENTILE.fullmatch(self.quantity)
        return float(found[1]) if found else None

    @property
    def timed(self) -> bool:
        """Whether it is a matter of time."""
        return self._kind.timed

    @property
    def units(self) -> tuple[str, ...]:
        """That its quantity can be given in."""
        return tuple(self._kind.units)

    def found(self, measurement: Measurement) -> float | None:
        """What was measured, in the threshold's unit; None where that is not known."""
        value = self._kind.get(measurement)
        return None if value is None else value / self._kind.units[self.unit]

    def crossed(self, found: float) -> bool:
        """Whether a figure is beyond it."""
        return _CROSSED[self.sign](found, self.limit)

    @property
    def _kind(self) -> _Quantity:
        percent = self.percent
        if percent is None:
            return _QUANTITIES[self.quantity]
        return _Quantity(units=_TIME, get=lambda measurement: measurement.percentile_ms(percent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What became of a threshold.

    Attributes:
        threshold: Which.
        artifact: The file's name.
        device: Its name.
        state: ``kept``, ``failed`` or ``not judged``.
        found: What was measured, in the threshold's unit; None where that is not known.
        why: Why it was not judged; empty where it was.
    """

    threshold: Threshold
    artifact: str
    device: str
    state: str
    found: float | None = None
    why: str = ""

    @property
    def exit_code(self) -> int:
        """1 where it failed, 2 where nobody can judge."""
        return {KEPT: 0, FAILED: 1, UNJUDGED: 2}[self.state]

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "fail_if": self.threshold.text,
            "artifact": self.artifact,
            "device": self.device,
            "state": self.state,
            "found": self.found,
            "unit": self.threshold.unit,
            "why": self.why,
        }


def read_threshold(text: str) -> Threshold:
    """Read ``p90>12ms``.

    Raises:
        UsageError: It has another form, or asks for something that is not measured; the hint lists what is.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise UsageError(f"--fail-if {text!r} is no quantity, sign, number and unit", hint=_HINT)
    quantity, sign, number, unit = form.groups()
    threshold = Threshold(
        text=f"{quantity}{sign}{number}{unit}", quantity=quantity, sign=sign, limit=float(number), unit=unit
    )
    if quantity not in _QUANTITIES and not threshold.percent:
        raise UsageError(f"--fail-if {text!r}: {quantity!r} is not measured", hint=_HINT)
    if unit not in threshold.units:
        said = f"has no unit {unit!r}" if unit else "lacks a unit"
        raise UsageError(f"--fail-if {text!r} {said}: {', '.join(threshold.units)}", hint=_HINT)
    return threshold


def check_judgeable(thresholds: Sequence[Threshold], effort: Effort, devices: Sequence[Device]) -> None:
    """Find out before minutes of measuring what could not be judged after them.

    Raises:
        UsageError: A percentile needs more runs than there will be, or time is asked of an emulated device.
    """
    for threshold in thresholds:
        percent = threshold.percent
        if percent and not effort.for_so_long and effort.least_runs < runs_needed(percent):
            raise UsageError(
                f"--fail-if {threshold.text}: {threshold.quantity} needs {runs_needed(percent)} runs, "
                f"and {effort.least_runs} were asked for",
                hint="raise --effort, --runs or --processes",
            )
        for device in devices:
            if threshold.timed and device.profile.emulated:
                raise UsageError(
                    f"--fail-if {threshold.text}: the CPU of {device.name} is emulated, "
                    "and the time of that is no device's latency",
                    hint="judge peak or size there, and time on a real device",
                )


def judge(measurement: Measurement, threshold: Threshold) -> Judgement:
    """Hold a measurement against a threshold."""
    found, why = threshold.found(measurement), ""
    if found is None:
        state, why = UNJUDGED, _why(measurement, threshold)
    else:
        state = FAILED if threshold.crossed(found) else KEPT
    return Judgement(
        threshold=threshold,
        artifact=measurement.artifact,
        device=measurement.device,
        state=state,
        found=found,
        why=why,
    )


def _why(measurement: Measurement, threshold: Threshold) -> str:
    if (percent := threshold.percent) is None:
        return f"no energy was measured: {measurement.energy_method}"
    runs = len(measurement.samples_ms)
    return f"{threshold.quantity} needs {runs_needed(percent)} runs, and {runs} were made in the time there was"
