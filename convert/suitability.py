"""How an artifact suits a device: whether its engine runs it, and whether its CPU computes it right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.convert.inspection import requirements_of, saturation_of
from tinsmith.runtime.preflight import check_operators
from tinsmith.runtime.profile import cpu_of

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.convert.inspection import Saturation
    from tinsmith.runtime.preflight import Preflight
    from tinsmith.runtime.profile import Profile

__all__ = ["Suitability", "suitability_of"]

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Suitability:
    """What is known of an artifact on a device without running it there.

    Attributes:
        device: The profile's name; empty where none was named.
        cpu: Its CPU in a few words; empty where none was named.
        saturates: Whether that CPU clips sums of products; None where no device was named.
        saturation: Where the artifact gives it occasion to.
        preflight: Whether the engines run it; None where no device was named.
    """

    device: str
    cpu: str
    saturates: bool | None
    saturation: Saturation
    preflight: Preflight | None

    @property
    def wrong_there(self) -> bool:
        """Whether answers can be wrong on the device for no other reason than its CPU."""
        return bool(self.saturates and self.saturation.operators)

    def facts(self) -> list[tuple[str, str]]:
        """Named lines for people; those that have nothing to say are left out."""
        lines = [("made for", f"{self.device} ({self.cpu})")] if self.device else []
        if self.preflight is not None:
            lines += [("engine", said) for said in self.preflight.said]
        if self.saturation.products:
            lines.append(("arithmetic", self._arithmetic()))
        return lines

    def _arithmetic(self) -> str:
        if not self.saturation.operators:
            return self.saturation.said
        if self.saturates is False:
            return f"right on {self.device}; on x86 without VNNI it {self.saturation.said}"
        where = "on x86 without VNNI" if self.saturates is None else f"on {self.device}"
        named = [
            operator.name + ("" if operator.share is None else f" ({operator.share:.1%} of its pairs)")
            for operator in self.saturation.operators[:_MOST_NAMED]
        ]
        more = ", ..." if len(self.saturation.operators) > _MOST_NAMED else ""
        return f"{self.saturation.said} {where}: {', '.join(named)}{more}; make it for that device with --device"

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "device": self.device or None,
            "cpu": self.cpu or None,
            "cpu_saturates": self.saturates,
            "saturation": self.saturation.to_json(),
            "preflight": None if self.preflight is None else self.preflight.to_json(),
        }


def suitability_of(artifact: Path, profile: Profile | None) -> Suitability:
    """Look at an artifact with the eyes of a device; nothing of it is run.

    Args:
        artifact: A .tflite or .onnx file.
        profile: Of the device; None says what holds for all.

    Raises:
        ModelLoadError: The file is damaged, or no artifact.
        HostError: The profile is this machine's, which does not say what its CPU can do.
    """
    saturation = saturation_of(artifact)
    if profile is None:
        return Suitability(device="", cpu="", saturates=None, saturation=saturation, preflight=None)
    cpu = cpu_of(profile)
    found = requirements_of(artifact)
    return Suitability(
        device=profile.name,
        cpu=cpu.said,
        saturates=cpu.saturates,
        saturation=saturation,
        preflight=check_operators(found.format, found.operators, profile, needs=found.needs),
    )
