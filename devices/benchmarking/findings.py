"""What a benchmark found: the report, what it was compared with, thresholds, and what others have published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.devices.benchmarking.against import compare_apart, compare_in_turns
from tinsmith.devices.benchmarking.published import published_for
from tinsmith.devices.benchmarking.thresholds import judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinsmith.devices.benchmarking.against import Comparison
    from tinsmith.devices.benchmarking.earlier import Earlier
    from tinsmith.devices.benchmarking.published import Published
    from tinsmith.devices.benchmarking.report import Report
    from tinsmith.devices.benchmarking.subject import Subject
    from tinsmith.devices.benchmarking.thresholds import Judgement, Threshold
    from tinsmith.devices.device import Device
    from tinsmith.runtime.measurement import Measurement

__all__ = ["Findings", "findings_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that there is to say.

    Attributes:
        report: What was measured, and what could not be.
        comparisons: With ``--against``.
        judgements: Of ``--fail-if``, a measurement after another.
        published: For the devices that somebody has published something for.
        percentiles: That the user asked for besides.
    """

    report: Report
    comparisons: tuple[Comparison, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    published: tuple[Published, ...] = ()
    percentiles: tuple[float, ...] = ()

    @property
    def exit_code(self) -> int:
        """The highest of all."""
        codes = [comparison.exit_code for comparison in self.comparisons]
        codes += [judgement.exit_code for judgement in self.judgements]
        return max(self.report.exit_code, *codes, 0)

    def to_json(self) -> dict[str, Any]:
        """The document of ``tinsmith benchmark --format json``."""
        document = self.report.to_json()
        for measurement, said in zip(self.report.measurements, document["measurements"], strict=True):
            said |= {f"p{percent:g}_ms": measurement.percentile_ms(percent) for percent in self.percentiles}
        return {
            **document,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "thresholds": [judgement.to_json() for judgement in self.judgements],
            "published": [one for published in self.published for one in published.to_json()],
        }


def findings_of(
    report: Report,
    devices: Sequence[Device],
    *,
    against: Subject | Earlier | None = None,
    thresholds: Sequence[Threshold] = (),
    percentiles: tuple[float, ...] = (),
) -> Findings:
    """Compare and judge what was measured.

    Args:
        report: What was measured; an artifact to compare with is the last one on each device.
        devices: What it was measured on.
        against: An artifact that took turns with the others, or an earlier result.
        thresholds: That no measurement may cross; the one that is compared with may.
        percentiles: To show besides.
    """
    judged = [m for m in report.measurements if all(m is not base for base in _bases(report, against))]
    names = [measurement.artifact for measurement in report.measurements]
    published = [published_for(device, names) for device in devices]
    return Findings(
        report=report,
        comparisons=tuple(_comparisons(report, judged, against)),
        judgements=tuple(judge(measurement, threshold) for measurement in judged for threshold in thresholds),
        published=tuple(found for found in published if found),
        percentiles=percentiles,
    )


def _bases(report: Report, against: Subject | Earlier | None) -> list[Measurement]:
    """What is compared with, one a device, where it took turns with the others."""
    from tinsmith.devices.benchmarking.subject import Subject

    if not isinstance(against, Subject):
        return []
    lasts = {measurement.device: measurement for measurement in report.measurements}
    return [last for last in lasts.values() if last.artifact_sha256 == against.sha256]


def _comparisons(
    report: Report, judged: Sequence[Measurement], against: Subject | Earlier | None
) -> Iterator[Comparison]:
    from tinsmith.devices.benchmarking.earlier import Earlier

    bases = {base.device: base for base in _bases(report, against)}
    for measurement in judged:
        if isinstance(against, Earlier):
            earlier = against.of(measurement.artifact, measurement.artifact_sha256, measurement.device)
            yield compare_apart(measurement, earlier)
        elif measurement.device in bases:
            yield compare_in_turns(measurement, bases[measurement.device])
