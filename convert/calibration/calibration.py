"""What one look at the samples has found, from which every method takes its ranges without looking again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.convert.calibration.stability import Stability, movement
from tinsmith.convert.calibration.thresholds import range_of
from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.convert.calibration.methods import Method
    from tinsmith.convert.calibration.ranges import Ranges
    from tinsmith.convert.calibration.statistics import Seen

__all__ = ["Calibration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The values that the tensors of one float model took.

    Attributes:
        model_sha256: Of the float .tflite or .onnx file that was run, 64 hex digits.
        samples: How many were run, at least 1.
        tensors: What was kept of each tensor, by the name that the engine knows it by.
    """

    model_sha256: str
    samples: int
    tensors: Mapping[str, Seen]

    @property
    def has_histograms(self) -> bool:
        """Whether it serves methods that need more than extremes."""
        return all(half.histogram is not None for seen in self.tensors.values() for half in seen.halves)

    @property
    def extremes(self) -> Ranges:
        """The least and the greatest value of each tensor."""
        return {name: seen.whole.extremes for name, seen in self.tensors.items()}

    def ranges(self, method: Method) -> Ranges:
        """One range a tensor.

        Raises:
            DataError: The method needs histograms, and the calibration was made without.
        """
        return {name: range_of(seen.whole, method) for name, seen in self.tensors.items()}

    def stability(self, method: Method) -> Stability:
        """How far those ranges would move with half of the samples; raises as ``ranges``."""
        if self.samples < 2:
            return Stability(samples=self.samples, movements={})
        ranges = self.ranges(method)
        moved = {name: movement(seen, ranges[name], method) for name, seen in self.tensors.items()}
        return Stability(samples=self.samples, movements=moved)

    def merge(self, later: Calibration) -> Calibration:
        """With the samples of another calibration of the same model.

        Neither the order nor the split of the samples changes any extreme or histogram, and so no range that comes
        from them. The moving average is that of these samples followed by the later ones.

        Raises:
            DataError: The other is of another model.
        """
        self.check_model(later.model_sha256)
        if self.tensors.keys() != later.tensors.keys():
            raise DataError(
                "two calibrations of the same model watched different tensors, so they can't be merged",
                hint="make both with the same version of tinsmith",
            )
        return Calibration(
            model_sha256=self.model_sha256,
            samples=self.samples + later.samples,
            tensors={name: seen.then(later.tensors[name]) for name, seen in self.tensors.items()},
        )

    def check_model(self, sha256: str) -> None:
        """Refuse to be used for another model.

        Raises:
            DataError: It is another one.
        """
        if sha256 != self.model_sha256:
            raise DataError(
                f"this is a calibration of another model (sha256 {self.model_sha256[:12]}…, not {sha256[:12]}…)",
                hint="calibrate the float model that is quantized: `tinsmith calibrate MODEL --data DATA -o RANGES`",
            )
