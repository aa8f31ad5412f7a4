"""Earlier measurements, kept on this machine: a file of JSON lines for each model, by its hash, and device.

A line keeps the processes' medians, from which median and interval are derived anew, and no single run time.
"""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.devices.folders import xdg_folder
from tinsmith.runtime.errors import DataError, OutputError
from tinsmith.runtime.fields import fields_of
from tinsmith.runtime.files import write_bytes
from tinsmith.runtime.intervals import bootstrap
from tinsmith.runtime.timing import median

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields
    from tinsmith.runtime.intervals import Interval
    from tinsmith.runtime.measurement import Measurement

__all__ = ["Entry", "History", "Series", "history_folder", "series_of"]

_logger = logging.getLogger("tinsmith.devices.benchmarking.history")
_SCHEMA = 1
_MOST_LINES, _MOST_FILES = 500, 500
_WORDS = (
    "artifact", "device", "profile", "engine", "engine_version", "accelerator", "scenario", "effort", "taken_at",
    "verdict",
)  # fmt: skip
_MAYBE = ("p90_ms", "joules", "temperature_c", "frequency_mhz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One measurement, in short; names as in ``Measurement``.

    Attributes:
        verdict: ``stable``, ``noisy`` or ``throttled``.
        process_medians_ms: In the order of the processes; at least one.
        temperature_c: After the last process; None where that can't be read, as all that follows.
        frequency_mhz: After the last process.
    """

    artifact: str
    artifact_sha256: str
    size_bytes: int
    device: str
    profile: str
    engine: str
    engine_version: str
    accelerator: str
    threads: int
    scenario: str
    effort: str
    taken_at: str
    verdict: str
    process_medians_ms: tuple[float, ...]
    load_ms: float
    peak_memory_bytes: int
    p90_ms: float | None = None
    joules: float | None = None
    temperature_c: float | None = None
    frequency_mhz: float | None = None

    @property
    def median_ms(self) -> float:
        """Of the processes' medians."""
        return median(self.process_medians_ms)

    @property
    def interval_ms(self) -> Interval | None:
        """Where that lies with 95 % confidence; None below five processes."""
        return bootstrap(self.process_medians_ms, median)

    @classmethod
    def of(cls, measurement: Measurement) -> Self:
        """What is kept of a measurement."""
        after = measurement.processes[-1].after
        words = {name: getattr(measurement, name) for name in _WORDS if name != "verdict"}
        return cls(
            **words,
            artifact_sha256=measurement.artifact_sha256,
            size_bytes=measurement.size_bytes,
            threads=measurement.threads,
            verdict=measurement.verdict.state,
            process_medians_ms=tuple(measurement.process_medians_ms),
            load_ms=measurement.load_ms,
            peak_memory_bytes=measurement.peak_memory_bytes,
            p90_ms=measurement.p90_ms,
            joules=measurement.joules,
            temperature_c=after.temperature_c,
            frequency_mhz=after.frequency_mhz,
        )

    def to_json(self) -> dict[str, Any]:
        """A line of the file, and of reports."""
        told = {name: getattr(self, name) for name in self.__slots__}
        interval = self.interval_ms
        return {
            "schema": _SCHEMA,
            **told,
            "process_medians_ms": list(self.process_medians_ms),
            "median_ms": self.median_ms,
            "interval_ms": None if interval is None else [interval.low, interval.high],
        }

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read back what ``to_json`` wrote; raises ``DataError``."""
        fields.schema(_SCHEMA)
        medians = fields.numbers("process_medians_ms")
        if not medians or min(medians) <= 0:
            raise fields.wrong("has no process that measured")
        words: dict[str, Any] = {name: fields.word(name) for name in _WORDS}
        numbers: dict[str, Any] = {name: None if fields.null(name) else fields.finite(name) for name in _MAYBE}
        return cls(
            **words,
            **numbers,
            artifact_sha256=fields.sha256("artifact_sha256"),
            size_bytes=fields.count("size_bytes", least=0),
            threads=fields.count("threads"),
            process_medians_ms=medians,
            load_ms=fields.finite("load_ms"),
            peak_memory_bytes=fields.count("peak_memory_bytes", least=0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Measurements that can be compared: of one model on one device, in one way.

    Attributes:
        entries: From the oldest to the newest; at least one.
    """

    entries: tuple[Entry, ...]

    @property
    def newest(self) -> Entry:
        """The last one."""
        return self.entries[-1]

    @property
    def title(self) -> str:
        """What it is of."""
        e = self.newest
        accelerator = "" if e.accelerator == "cpu" else f" on {e.accelerator}"
        way = f"{e.engine}{accelerator}, {e.threads} thread(s), {e.scenario}"
        return f"{e.artifact} ({e.artifact_sha256[:12]}) on {e.device}: {way}"


def history_folder() -> Path:
    """Where it lies: ``tinsmith/benchmarks`` in the XDG folder for state."""
    return xdg_folder("XDG_STATE_HOME", ".local/state") / "tinsmith" / "benchmarks"


class History:
    """Keeps the last 500 measurements of each of 500 models times devices; safe from many processes at once.

    Args:
        folder: Made with the first line.
        most_lines: Of a file; the oldest go.
        most_files: Those that got no line for longest go.
    """

    def __init__(self, folder: Path, *, most_lines: int = _MOST_LINES, most_files: int = _MOST_FILES) -> None:
        self._folder = folder
        self._most_lines, self._most_files = most_lines, most_files

    def append(self, measurements: Sequence[Measurement]) -> None:
        """Keep what was measured.

        Raises:
            OutputError: The folder can't be written.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                for measurement in measurements:
                    self._append(Entry.of(measurement))
                self._forget()
        except OSError as error:
            raise OutputError.from_os_error(self._folder, error) from error

    def entries(self, *, sha256: str = "", devices: Sequence[str] = ()) -> tuple[Entry, ...]:
        """What is kept, from the oldest to the newest; damaged lines, and those of a newer tinsmith, are left out.

        Args:
            sha256: Of one model, or its beginning; empty for all.
            devices: Their names; none for all.
        """
        paths = [path for path in self._files() if path.name.startswith(sha256)]
        found = [entry for path in paths for entry in _entries(path)]
        named = (entry for entry in found if not devices or entry.device in devices)
        return tuple(sorted(named, key=lambda entry: entry.taken_at))

    def _append(self, entry: Entry) -> None:
        path = self._folder / f"{entry.artifact_sha256}.{entry.device}.jsonl"
        lines = path.read_bytes().splitlines() if path.is_file() else []
        lines.append(json.dumps(entry.to_json(), allow_nan=False).encode())
        # all of it anew: a file of at most 500 lines is then whole or as before, and never torn
        write_bytes(path, b"\n".join(lines[-self._most_lines :]) + b"\n")

    def _forget(self) -> None:
        newest_first = sorted(self._files(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in newest_first[self._most_files :]:
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9a-f]*.jsonl"))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        with (self._folder / ".lock").open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # ends when the file is closed
            yield


def series_of(entries: Sequence[Entry]) -> tuple[Series, ...]:
    """Put together what can be compared, in the order of the oldest of each."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for e in entries:
        key = (e.artifact_sha256, e.device, e.engine, e.accelerator, e.threads, e.scenario)
        groups.setdefault(key, []).append(e)
    return tuple(Series(entries=tuple(group)) for group in groups.values())


def _entries(path: Path) -> Iterator[Entry]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if entry := _entry(line, f"line {number} of {path}"):
            yield entry


def _entry(line: bytes, of: str) -> Entry | None:
    try:
        return Entry.read(fields_of(line, of=of))
    except DataError as error:
        _logger.warning("left out: %s", error.message)
        return None
