"""Golden inputs against what a model answers here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.bundle.golden import Golden
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]
    Feeds = Mapping[str, Array]

__all__ = ["GoldenCheck", "check_golden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCheck:
    """How far the answers lie from the golden ones.

    Attributes:
        samples: How many were run.
        engine: Whose golden outputs they were held against; another engine's where there are none of this one.
        output: The output that came closest to its tolerance.
        sample: The sample where it did; counts from 0.
        difference: How far it was off there, in stored units; NaN where one of the two is no number.
        tolerance: How far it may be off.
    """

    samples: int
    engine: str
    output: str
    sample: int
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether it is within its tolerance, and with it every other one."""
        return self.difference <= self.tolerance

    @property
    def said(self) -> str:
        """In one line."""
        return (
            f"the output {self.output!r} of golden sample {self.sample} is off by {self.difference:.6g}, "
            f"and {self.tolerance:.6g} is allowed on {self.engine}"
        )


def check_golden(
    golden: Golden, run: Callable[[Feeds], Feeds], inputs: Sequence[TensorSpec], *, engine: str
) -> GoldenCheck:
    """Run the golden inputs, and hold the answers against the golden ones.

    Args:
        golden: What a bundle brought.
        run: The model on stored dtypes, such as ``Session.run_raw`` or ``Sandbox.run_raw``.
        inputs: What the model takes; where its first axis is fixed, as many samples are run at once.
        engine: That ``run`` uses.

    Returns:
        The worst difference, measured in tolerances.

    Raises:
        VerificationError: One lies beyond its tolerance, or an output is missing or has another shape.
        ModelError: The engine failed.
    """
    known = engine if engine in golden.outputs else next(iter(golden.outputs))
    samples = min(len(array) for array in golden.inputs.values())
    tolerances = golden.tolerance[known]
    worst = max(
        _differences(golden.outputs[known], tolerances, _answers(golden.inputs, run, inputs, samples)),
        key=lambda found: _severity(found[2], tolerances[found[0]]),
    )
    check = GoldenCheck(
        samples=samples,
        engine=known,
        output=worst[0],
        sample=worst[1],
        difference=worst[2],
        tolerance=tolerances[worst[0]],
    )
    if not check.passed:
        raise VerificationError(
            check.said, hint="this engine computes other numbers than the one that the bundle was made with"
        )
    return check


def _answers(
    golden: Feeds, run: Callable[[Feeds], Feeds], inputs: Sequence[TensorSpec], samples: int
) -> Iterator[tuple[int, Feeds]]:
    """The first sample of each run, and what came out."""
    together = max((spec.batch or 1 for spec in inputs), default=1)
    for first in range(0, samples - samples % together, together):
        feeds = {
            spec.name: golden[spec.name][first : first + together] if spec.shape else golden[spec.name][first]
            for spec in inputs
        }
        yield first, run(feeds)


def _differences(
    wanted: Feeds, tolerances: Mapping[str, float], answers: Iterator[tuple[int, Feeds]]
) -> Iterator[tuple[str, int, float]]:
    import numpy as np

    for first, outputs in answers:
        for name in tolerances:
            if name not in outputs:
                raise VerificationError(f"the model has no output {name!r}, which its golden outputs have")
            got = np.asarray(outputs[name])
            want = wanted[name][first : first + len(got)] if got.ndim else wanted[name][first]
            if got.shape != want.shape:
                raise VerificationError(
                    f"the output {name!r} has shape {list(got.shape)}, and its golden output {list(want.shape)}"
                )
            at, difference = _furthest(got, want)
            yield name, first + at, difference


def _furthest(got: Array, want: Array) -> tuple[int, float]:
    """The row that is off the most, and by how much; infinite where only one of two numbers is one."""
    import numpy as np

    a, b = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(invalid="ignore"):
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    off = np.nan_to_num(np.atleast_1d(off), nan=np.inf, posinf=np.inf)
    if not off.size:
        return 0, 0.0
    at = np.unravel_index(int(off.argmax()), off.shape)
    return int(at[0]), float(off[at])


def _severity(difference: float, tolerance: float) -> float:
    if difference <= tolerance:
        return difference / tolerance if tolerance else 0.0
    return difference / tolerance if tolerance else float("inf")
