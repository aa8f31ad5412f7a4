"""One interface for every tool that turns a float model into a smaller one."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tinsmith.convert.calibration.ranges import no_samples
from tinsmith.convert.quantization.schemes import Int8
from tinsmith.runtime.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.convert.calibration.calibration import Calibration
    from tinsmith.convert.calibration.methods import Detail
    from tinsmith.convert.model import Format
    from tinsmith.convert.quantization.plan import Plan

    Feeds = Mapping[str, NDArray[np.generic]]

__all__ = [
    "Quantizer",
    "Report",
    "already_quantized",
    "calibrated",
    "check_kept",
    "needed",
    "refuse_four_bits",
    "require_names",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a quantizer did.

    Attributes:
        engine: The quantizer's name.
        samples: How many samples it calibrated on; 0 where none were needed.
        ranges: For how many tensors it found a range; 0 where none were needed, or where the tool does not say.
    """

    engine: str
    samples: int = 0
    ranges: int = 0


class Quantizer(Protocol):
    """A tool that quantizes one format into another.

    Attributes:
        name: As a recipe's ``engine`` names it.
        takes: The format that goes in, always float32.
        gives: The format that comes out.
        extra: The extra of tinsmith that installs the tool.
    """

    name: str
    takes: Format
    gives: Format
    extra: str

    def check(self, plan: Plan) -> None:
        """Find out before any work whether the tool can carry out a plan.

        Raises:
            RecipeError: It can't; the hint names a tool that can.
        """
        ...

    def preload(self) -> None:
        """Import the tool, where that is all there is to wait for; raises ``MissingDependencyError``."""
        ...

    def fingerprint(self, source: Path) -> str:
        """The sha256 of the float file that ``calibrate`` runs, by which a saved calibration knows its model."""
        ...

    def calibrate(self, source: Path, samples: Iterable[Feeds], *, detail: Detail = "histograms") -> Calibration:
        """Run a float model on samples, and note what values its tensors take.

        Args:
            source: A file or folder of the format ``takes``, accepted by a child process before; it is never changed.
            samples: Batches of real numbers, one array an input name, samples on axis 0; read once.
            detail: What to keep of each tensor: extremes alone serve min-max and moving averages in half the time.

        Raises:
            RecipeError: The model is quantized already.
            DataError: There are no samples, or they do not fit the model.
            ModelError: The model can't be run, or becomes NaN or infinite.
            MissingDependencyError: The tool is not installed.
        """
        ...

    def quantize(self, source: Path, output: Path, plan: Plan, calibration: Calibration | None = None) -> Report:
        """Quantize a model into a new file.

        Args:
            source: As for ``calibrate``.
            output: The file to write, whole or not at all.
            plan: What to turn it into, and how.
            calibration: From ``calibrate``; only static schemes need one.

        Raises:
            RecipeError: The tool can't carry out this plan, or the model is quantized already.
            DataError: The scheme is static and there is no calibration.
            ModelError: The tool can't work on this model.
            MissingDependencyError: The tool is not installed.
            OutputError: The file can't be written.
        """
        ...


def needed(plan: Plan, calibration: Calibration | None) -> Calibration | None:
    """What a plan takes its ranges from; None where its scheme needs none.

    Raises:
        DataError: It needs a calibration, and there is none.
    """
    if not plan.scheme.static:
        return None
    if calibration is None:
        raise no_samples()
    return calibration


def calibrated(engine: str, calibration: Calibration | None) -> Report:
    """The report of a quantizer that took all its ranges from a calibration."""
    if calibration is None:
        return Report(engine=engine)
    return Report(engine=engine, samples=calibration.samples, ranges=len(calibration.tensors))


def check_kept(plan: Plan) -> None:
    """See to it that what is to be kept in 16 bits can have ranges, and what is to have 4 bits has 8 to start from.

    Raises:
        RecipeError: The scheme has none.
    """
    if plan.kept_in("int8x4") and not isinstance(plan.scheme, Int8):
        raise RecipeError(
            f"operators in int8x4 go with the scheme int8, not with {plan.scheme.name}",
            hint="choose the scheme int8, or leave them out of keep",
        )
    if plan.kept_in("int16x8") and not plan.scheme.static:
        raise RecipeError(
            f"{plan.scheme.name} observes no ranges, and operators kept in int16x8 need them",
            hint="keep them in float32, or choose the scheme int8",
        )


def refuse_four_bits(plan: Plan, engine: str) -> None:
    """For tools that have no weights in 4 bits beside activations in 8.

    Raises:
        RecipeError: The plan wants them.
    """
    if plan.kept_in("int8x4"):
        raise RecipeError(
            f"{engine} has no weights in 4 bits beside activations in 8",
            hint="make a .tflite with ai-edge-quantizer, or leave int8x4 out of keep",
        )


def require_names(plan: Plan, computed: Iterable[str], source: Path) -> None:
    """See to it that a model has the operators that a plan keeps.

    Raises:
        RecipeError: It has no operator of such a name.
    """
    known = set(computed)
    for name in plan.kept:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            raise RecipeError(
                f"no operator of {source.name} computes a tensor {name!r}, so it can't be kept as it is",
                hint=f"near to it: {', '.join(near)}" if near else "`compare --layers` names them",
            )


def already_quantized(source: Path, found: str) -> RecipeError:
    """What to say to a model that is not float32 any more."""
    return RecipeError(
        f"{source.name} is quantized already ({found}), and quantizing it again would only add errors",
        hint="start from the float32 model that it was made from",
    )
