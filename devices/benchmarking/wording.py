"""Figures and verdicts of a benchmark as words, alike on the screen, in Markdown and on pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.devices.benchmarking.against import REFUSED, UNJUDGED
from tinsmith.devices.benchmarking.thresholds import FAILED
from tinsmith.runtime.intervals import figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.devices.benchmarking.against import Comparison
    from tinsmith.devices.benchmarking.published import Published
    from tinsmith.devices.benchmarking.report import Failure
    from tinsmith.devices.benchmarking.thresholds import Judgement
    from tinsmith.runtime.measurement import Measurement
    from tinsmith.runtime.profile import Reference

__all__ = [
    "about_published",
    "comparison_text",
    "energy_text",
    "failure_text",
    "judgement_text",
    "reference_cells",
    "shortened",
    "sources_text",
]


def shortened(text: str, width: int) -> str:
    """With its middle left out where it is longer."""
    return text if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-(width - width // 2) :]}"


def comparison_text(comparison: Comparison) -> str:
    """One sentence without its full stop."""
    c = comparison
    against = f"{c.against} of {c.taken_at}" if c.taken_at else f"{c.against}, in turns"
    said = f"{c.artifact} on {c.device} against {against}: "
    if c.ratio is not None:
        interval = "" if c.interval is None else f" ({c.interval.low:.3f}-{c.interval.high:.3f})"
        said += f"{c.ratio:.3f} times its time{interval}: "
    if c.state == REFUSED:
        return f"{said}can't be compared: {c.why}"
    if c.state == UNJUDGED:
        return f"{said}not judged: {c.why}"
    return f"{said}{c.state} (margin {100 * c.margin:.0f} %)"


def judgement_text(judgement: Judgement) -> str:
    """One sentence without its full stop."""
    j = judgement
    state = "FAILED" if j.state == FAILED else j.state
    found = j.why if j.found is None else f"{j.threshold.quantity} {figure(j.found)} {j.threshold.unit}"
    return f"{state}: --fail-if {j.threshold.text}: {j.artifact} on {j.device}: {found}"


def failure_text(failure: Failure) -> str:
    """One sentence without its full stop."""
    return f"{failure.artifact} on {failure.device}: not measured to the end: {failure.error.message}"


def energy_text(measurement: Measurement) -> str:
    """Energy an inference with its method, or why it is not known."""
    if measurement.joules is None:
        return f"energy not measured: {measurement.energy_method}"
    interval = measurement.joules_interval
    ends = "" if interval is None else f" ({figure(1e3 * interval.low)}-{figure(1e3 * interval.high)})"
    return f"{figure(1e3 * measurement.joules)}{ends} mJ an inference, by {measurement.energy_method}"


def about_published(published: Published) -> str:
    """What the figures are, as a heading."""
    p = published
    which = "" if p.named else "; none by the names of these models, so all there are"
    return f"{p.device}: published by others for {p.profile}, not measured here{which}"


def sources_text(references: Sequence[Reference]) -> str:
    """Where they stand, each once."""
    return "; ".join(dict.fromkeys(f"{r.source.where} ({r.source.date})" for r in references))


def reference_cells(reference: Reference) -> list[object]:
    """Model, precision, milliseconds, statistic, how it was run, and that it was published."""
    r = reference
    threads = "" if r.threads is None else f", {r.threads} thread(s)"
    accelerator = "" if r.accelerator == "cpu" else f" on {r.accelerator}"
    remark = f"; {r.remark}" if r.remark else ""
    return [
        f"{r.model} {r.size}", r.precision, figure(r.value_ms), r.statistic,
        f"{r.runtime}{accelerator}{threads}{remark}", r.source.trust,
    ]  # fmt: skip
