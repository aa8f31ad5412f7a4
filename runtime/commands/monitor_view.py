"""How ``tinsmith monitor`` shows models to people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.commands.output import table

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["monitor_view"]

_MOST_ROWS = 12
# states that say that there is nothing to say
_WORDS = {"no-reference": "-", "no-promise": "-"}


def monitor_view(documents: list[dict[str, Any]]) -> list[RenderableType]:
    """A line a model, then what drifted, then remarks."""
    view: list[RenderableType] = [
        table(
            ["model", "version", "drift", "samples", "latency", "p50 ms", "p90 ms", "errors", "faults", "of"],
            _rows(documents),
        )
    ]
    for document in documents:
        if "drift" in document:
            view += _drift_view(document)
    return view + [remark for document in documents for remark in _remarks(document)]


def _rows(documents: list[dict[str, Any]]) -> list[list[object]]:
    return [_row(document) if "drift" in document else _absent(document) for document in documents]


def _row(document: dict[str, Any]) -> list[object]:
    drift, latency, errors = document["drift"], document["latency"], document["errors"]
    return [
        document["model"],
        document["version"],
        _WORDS.get(drift["state"], drift["state"]),
        drift.get("samples"),
        _WORDS.get(latency["state"], latency["state"]),
        latency["p50_ms"],
        latency["p90_ms"],
        errors["state"],
        errors["faults"],
        errors["requests"],
    ]


def _absent(document: dict[str, Any]) -> list[object]:
    return [document["model"], document.get("version"), document.get("state"), *[None] * 7]


def _drift_view(document: dict[str, Any]) -> list[RenderableType]:
    drifted = [found for found in document["drift"]["statistics"] if found["drifted"]]
    drifted.sort(key=lambda found: found["figure"] / found["threshold"], reverse=True)
    rows = [
        [f"{found['side']} {found['tensor']}", found["statistic"], found["test"], found["figure"], found["threshold"]]
        for found in drifted[:_MOST_ROWS]
    ]
    if not rows:
        return []
    shown = f"; {len(rows)} of {len(drifted)}, the furthest first" if len(drifted) > len(rows) else ""
    title = f"{document['model']}: drifted{shown}"
    return [table(["tensor", "statistic", "test", "figure", "threshold"], rows, title=title)]


def _remarks(document: dict[str, Any]) -> list[str]:
    name = document["model"]
    if "drift" not in document:
        return [f"{name} does not serve: {document.get('reason') or document.get('state')}"]
    drift, errors, capture = document["drift"], document["errors"], document["capture"]
    remarks = [_promised(name, document["latency"])]
    if drift["state"] != "no-reference":
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(drift["began_s"]))
        remarks.append(
            f"{name}: {drift['samples']:,} samples since {began} against {drift['reference_samples']:,} of the bundle; "
            f"of windows without drift, {drift['false_alarm']:.2%} at most are called drifted."
        )
    if errors["failures"]:
        told = ", ".join(f"{reason} {count:,}" for reason, count in errors["failures"].items())
        remarks.append(f"{name}: requests not answered since it was loaded: {told}.")
    if capture is not None:
        remarks.append(f"{name}: {capture['samples']:,} inputs captured to {capture['path']}.")
    return [remark for remark in remarks if remark]


def _promised(name: str, latency: dict[str, Any]) -> str:
    promised = {percent: latency[f"promised_{percent}_ms"] for percent in ("p50", "p90")}
    told = " and ".join(f"{percent} of {ms:g} ms" for percent, ms in promised.items() if ms)
    return f"{name}: its bundle promises a {told}; {latency['allowed'] - 1:.0%} more is allowed." if told else ""
