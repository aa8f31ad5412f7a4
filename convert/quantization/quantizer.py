"""One interface for every tool that turns a float model into a smaller one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tinsmith.convert.quantization.ranges import no_samples
from tinsmith.runtime.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.convert.model import Format
    from tinsmith.convert.quantization.schemes import Scheme

    Feeds = Mapping[str, NDArray[np.generic]]

__all__ = ["Quantizer", "Report", "Tally", "already_quantized", "calibration_samples"]


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

    def check(self, scheme: Scheme) -> None:
        """Find out before any work whether the tool has a scheme.

        Raises:
            RecipeError: It has not; the hint names a tool that has.
        """
        ...

    def quantize(self, source: Path, output: Path, scheme: Scheme, samples: Iterable[Feeds] | None = None) -> Report:
        """Quantize a model into a new file.

        Args:
            source: A file or folder of the format ``takes``, accepted by a child process before; it is never changed.
            output: The file to write, whole or not at all.
            scheme: What to turn it into.
            samples: Batches of real numbers, one array an input name, samples on axis 0; read once, and only by static
                schemes.

        Raises:
            RecipeError: The tool has not this scheme, or the model is quantized already.
            DataError: The scheme is static and there are no samples, or they do not fit the model.
            ModelError: The tool can't work on this model.
            MissingDependencyError: The tool is not installed.
            OutputError: The file can't be written.
        """
        ...


class Tally:
    """Batches passed through, and how many samples they held; there must be one when they end."""

    def __init__(self, batches: Iterable[Feeds]) -> None:
        self._batches = batches
        self.samples = 0

    def __iter__(self) -> Iterator[Feeds]:
        for feeds in self._batches:
            self.samples += len(next(iter(feeds.values())))
            yield feeds
        if not self.samples:
            raise no_samples()


def calibration_samples(samples: Iterable[Feeds] | None) -> Tally:
    """Count the samples of a static scheme.

    Raises:
        DataError: There are none: at once, or when iteration ends.
    """
    if samples is None:
        raise no_samples()
    return Tally(samples)


def already_quantized(source: Path, found: str) -> RecipeError:
    """What to say to a model that is not float32 any more."""
    return RecipeError(
        f"{source.name} is quantized already ({found}), and quantizing it again would only add errors",
        hint="start from the float32 model that it was made from",
    )
