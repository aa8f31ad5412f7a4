"""An artifact that answers on a device: samples go there and answers come back, so many bytes at a time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import secrets
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.devices.benchmarking.measurer import DeviceMeasurer, engine_there
from tinsmith.devices.benchmarking.subject import subject_of
from tinsmith.runtime.errors import DeviceError, VerificationError
from tinsmith.runtime.measuring.requests import Answer, Opening
from tinsmith.runtime.wire import encode, read_message

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.devices.device import Device
    from tinsmith.devices.transports.protocol import Transport

    Array = NDArray[np.generic]

__all__ = ["DeviceAnswers"]

_START_S = 60.0
_NO_PROGRESS_S = 30.0
_REMOVE_S = 10.0


class DeviceAnswers:
    """One artifact on one device.

    Args:
        device: Which; reached for on first use.
        artifact: A .tflite or .onnx file here.
        time_limit_s: For its load there, and for each run.
        transport: How the device is reached; its own unless given.

    Attributes:
        device: Its name.
        engine: What answered; empty before the first answer.
        engine_version: Of its package.

    Raises:
        ModelLoadError: The file can't be read.
        UsageError: It is no artifact.
    """

    def __init__(
        self, device: Device, artifact: Path, *, time_limit_s: float = 60.0, transport: Transport | None = None
    ) -> None:
        self.device = device.name
        self.engine = self.engine_version = ""
        self._subject = subject_of(artifact)
        self._measurer = DeviceMeasurer(device, transport)
        self._engine, self._threads = engine_there(device, self._subject.format), device.profile.threads
        self._time_limit_s = time_limit_s
        self._opening: Opening | None = None
        token = secrets.token_hex(4)
        # two that evaluate at once must not take each other's samples; what one leaves behind goes with old artifacts
        self._samples, self._answers = (PurePosixPath("bench", f"{token}.{kind}") for kind in ("samples", "answers"))

    def answer(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run samples there, through the device's engine.

        Args:
            feeds: One array an input name, samples on axis 0.

        Returns:
            One array an output, in the order of the artifact.

        Raises:
            DeviceError: The device can't be reached, was lost, is full, or is not set up.
            ModelError: The model can't be loaded there, or runs past its time limit.
            HostError: Its engine is not there.
            VerificationError: What arrived is not what was sent.
        """
        opening = self._opening = self._opening or self._prepared()
        content = encode({"names": list(feeds)}, list(feeds.values()))
        with tempfile.TemporaryDirectory() as folder:
            samples = Path(folder) / "samples"
            samples.write_bytes(content)
            self._measurer.put(samples, self._samples, time_limit_s=_NO_PROGRESS_S)
        request = Answer(
            opening=opening,
            samples=str(self._samples),
            samples_sha256=hashlib.sha256(content).hexdigest(),
            answers=str(self._answers),
        )
        runs = max(len(array) for array in feeds.values())
        answered = self._measurer.answer(request, time_limit_s=_START_S + (1 + runs) * self._time_limit_s)
        self.engine, self.engine_version = answered.engine, answered.engine_version
        return self._fetched(answered.sha256)

    def close(self) -> None:
        """Leave nothing there but the artifact, and let go of the device; safe to call twice."""
        if self.engine:
            with contextlib.suppress(DeviceError):
                self._measurer.remove(self._samples, self._answers, time_limit_s=_REMOVE_S)
        self._measurer.close()

    def _prepared(self) -> Opening:
        return Opening(
            path=self._measurer.bring(self._subject, lambda _done, _size: None),
            sha256=self._subject.sha256,
            engine=self._engine,
            threads=self._threads,
            time_limit_s=self._time_limit_s,
        )

    def _fetched(self, sha256: str) -> list[Array]:
        with tempfile.TemporaryDirectory() as folder:
            answers = Path(folder) / "answers"
            self._measurer.get(self._answers, answers, time_limit_s=_NO_PROGRESS_S)
            content = answers.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise VerificationError(
                f"{self.device}: getting answers: what came is not what the device wrote: sha256 differs",
                hint="run the same command again",
            )
        return read_message(io.BytesIO(content).read)[1]
