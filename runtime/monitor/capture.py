"""Keeps a small, even sample of what a served model is fed, for the next calibration; off unless asked for."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
import zipfile
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from tinsmith.runtime.errors import TinsmithError, UsageError
from tinsmith.runtime.files import staged_file
from tinsmith.runtime.monitor.reservoir import Reservoir
from tinsmith.runtime.monitor.summary import samples_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]
    Feeds = Mapping[str, Array]
    Sample = dict[str, Array]

__all__ = ["Capture", "CaptureLimits"]

logger = logging.getLogger(__name__)

_BUCKETS = 8
_OWNER_ONLY = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """How much is kept, and for how long.

    Attributes:
        most_samples: At least 8.
        most_bytes: Of the samples, in memory and in the file.
        most_age_s: What is older is deleted, from the file as well.
        write_every_s: How often the file is brought up to date.
    """

    most_samples: int = 512
    most_bytes: int = 16 << 20
    most_age_s: float = 7 * 86_400.0
    write_every_s: float = 60.0


class _Bucket:
    """An even draw of an eighth of the age limit."""

    def __init__(self, began_s: float, room: int, *, seed: int) -> None:
        self.began_s = began_s
        self.samples: list[Sample] = []
        self._chance = random.Random(seed)  # noqa: S311 - a draw of samples keeps no secret
        self._reservoir = Reservoir(room, seed=seed)

    def offer(self) -> int | None:
        return self._reservoir.offer()

    def keep(self, place: int, sample: Sample) -> None:
        self.samples[place : place + 1] = [sample]

    def thin(self, room: int) -> None:
        """Make room for later ones; an even draw of an even draw is one."""
        self.samples = self._chance.sample(self.samples, min(room, len(self.samples)))


class Capture:
    """A bounded, evenly drawn sample of inputs, in a private file; a ``serving.Watcher``.

    The age limit is cut into eighths that share the room alike, and within each every sample has the same chance
    (``Reservoir``); so a busy hour can't push out a quiet week, and what is too old goes as a whole. The file is one
    that ``--data`` reads: ``x``, or one array an input name, and the scale of quantized inputs. What an earlier server
    left there is replaced at the first write.

    Args:
        path: The file, ending in .npz.
        inputs: Of the model.
        limits: How much, how long.
        clock: Seconds since 1970.
        seed: Of the draw.

    Raises:
        UsageError: The model takes text, whose samples have no one shape; or there is no room for 8 samples.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[TensorSpec],
        *,
        limits: CaptureLimits | None = None,
        clock: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.path = path
        self.limits = limits or CaptureLimits()
        if any(spec.dtype == "str" for spec in inputs):
            raise UsageError(f"text can't be captured to {path}", hint="leave this model out of the capture")
        if self.limits.most_samples < _BUCKETS:
            raise UsageError(f"a capture keeps {_BUCKETS} samples at the least, not {self.limits.most_samples}")
        self.inputs = tuple(inputs)
        self._clock = clock
        self._seeds = itertools.count(seed)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._buckets: deque[_Bucket] = deque()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._room = 0
        self._changed = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def saw(self, feeds: Feeds, outputs: Feeds) -> None:
        """One request; see ``serving.Watcher``. A sample of another shape than the first one's can't be kept."""
        samples = samples_in(feeds, outputs)
        rows = {spec.name: feeds[spec.name] for spec in self.inputs}
        batched = all(array.shape[:1] == (samples,) for array in rows.values())
        for number in range(samples):
            self._offer({name: array[number] if batched else array for name, array in rows.items()})

    def _offer(self, sample: Sample) -> None:
        with self._lock:
            if not self._fits(sample):
                return
            bucket = self._bucket()
            place = bucket.offer()
            if place is not None:
                # a copy: the request's whole body would live as long as a view of it
                bucket.keep(place, {name: np.array(array) for name, array in sample.items()})
                self._changed = True

    def _fits(self, sample: Sample) -> bool:
        shapes = {name: array.shape for name, array in sample.items()}
        if not self._shapes:
            self._shapes = shapes
            sample_bytes = sum(array.nbytes for array in sample.values())
            affordable = self.limits.most_bytes // max(1, sample_bytes)
            self._room = min(self.limits.most_samples, affordable)
        return self._room >= _BUCKETS and shapes == self._shapes

    def _bucket(self) -> _Bucket:
        now_s, span_s = self._clock(), self.limits.most_age_s / _BUCKETS
        self._expire(now_s)
        if not self._buckets or now_s >= self._buckets[-1].began_s + span_s:
            if len(self._buckets) == _BUCKETS:
                self._buckets.popleft()
            share = self._room // (len(self._buckets) + 1)
            for bucket in self._buckets:
                bucket.thin(share)
            self._buckets.append(_Bucket(now_s, share, seed=next(self._seeds)))
        return self._buckets[-1]

    def _expire(self, now_s: float) -> None:
        """Drop buckets whose first sample has reached the age limit."""
        while self._buckets and now_s - self._buckets[0].began_s >= self.limits.most_age_s:
            self._buckets.popleft()
            self._changed = True

    def _held(self) -> list[Sample]:
        return [sample for bucket in self._buckets for sample in bucket.samples]

    def to_json(self) -> dict[str, Any]:
        """What is kept, and where from the root of this machine on, for the monitor's document."""
        with self._lock:
            samples = len(self._held())
        return {
            "path": str(self.path.absolute()),
            "samples": samples,
            "most_samples": self.limits.most_samples,
            "most_bytes": self.limits.most_bytes,
            "most_age_s": self.limits.most_age_s,
        }

    def write(self) -> None:
        """Bring the file up to date: whole or as before, and readable by its owner alone; none where nothing is kept.

        Raises:
            OutputError: It can't be written.
        """
        with self._writing:
            with self._lock:
                self._expire(self._clock())
                held, changed, self._changed = self._held(), self._changed, False
            try:
                if changed:
                    self._store(held)
            except BaseException:
                self._changed = True
                raise

    def _store(self, held: list[Sample]) -> None:
        if not held:
            self.path.unlink(missing_ok=True)
            return
        with staged_file(self.path, mode=_OWNER_ONLY) as staged, zipfile.ZipFile(staged, "w") as archive:
            for spec in self.inputs:
                _add(archive, self._key(spec.name), np.stack([sample[spec.name] for sample in held]))
            for key, number in self._scaling().items():
                _add(archive, key, number)

    def _key(self, name: str) -> str:
        return "x" if len(self.inputs) == 1 else name

    def _scaling(self) -> dict[str, Array]:
        """The one quantization of all inputs; where they differ, the file holds integers that only this model takes."""
        first, *others = {spec.quantization for spec in self.inputs}
        if others or first is None or len(first.scale) != 1:
            return {}
        return {"scale": np.array(first.scale, np.float64), "zero_point": np.array(first.zero_point, np.int64)}

    def start(self) -> None:
        """Keep the file up to date from now on, until ``close``."""
        self._thread = threading.Thread(target=self._keep_writing, name="tinsmith-capture", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write a last time, and stop; raises as ``write``."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.write()

    def _keep_writing(self) -> None:
        while not self._stop.wait(self.limits.write_every_s):
            try:
                self.write()
            except TinsmithError as error:  # noqa: PERF203 - once a minute, and the next try may do
                logger.warning("%s", error.message)


def _add(archive: zipfile.ZipFile, key: str, array: Array) -> None:
    """As ``numpy.savez``, whose older versions can't be kept from pickling."""
    with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
        npy.write_array(stream, array, allow_pickle=False)
