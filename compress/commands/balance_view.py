"""How a balance is shown: what was said to move, and what did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.convert.commands.class_view import class_losses, slice_losses
from tinsmith.runtime.commands.output import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tinsmith.compress.balance import Balance, Judged

__all__ = ["balance_view"]


def balance_view(balance: Balance) -> list[RenderableType]:
    """Every quantity before and after, then the classes and slices that lost most."""
    rows: list[list[object]] = [
        [
            name,
            _said(balance, name),
            _bytes(before),
            _bytes(after),
            _ratio(before, after),
            "estimated" if name in balance.estimated else "",
        ]
        for name, (before, after) in balance.bytes_moved.items()
    ]
    rows.append(["latency", _said(balance, "latency"), *_latency(balance)])
    verdict = [f"speed: {balance.pace.said}"] if balance.pace else []
    if balance.judged is None:
        rows.append(["accuracy", _said(balance, "accuracy"), "-", "-", "-", f"not judged: {balance.unjudged}"])
        return ["", _table(rows), *verdict]
    rows.append(_accuracy(balance, balance.judged))
    judged = balance.judged
    pair, against = (judged.after, judged.before, "the artifact"), "the source"
    return ["", _table(rows), *verdict, *class_losses(*pair, against=against), *slice_losses(*pair, against=against)]


def _latency(balance: Balance) -> list[object]:
    speed = balance.speed
    if speed is None:
        return ["-", "-", "-", f"not timed: {balance.untimed}"]
    spread = f"{speed.low:.2f} to {speed.high:.2f} over {speed.rounds} rounds in turn"
    return [f"{speed.one_ms:.3f} ms", f"{speed.other_ms:.3f} ms", f"{speed.ratio:.2f}", spread]


def _table(rows: list[list[object]]) -> RenderableType:
    return table(["", "said to move", "source", "artifact", "ratio", ""], rows)


def _accuracy(balance: Balance, judged: Judged) -> list[object]:
    before, after = judged.before, judged.after
    metric = after.metric
    change = after.score - before.score
    said = f"{100 * change:+.2f} points" if metric.counts_samples else f"{change:+.4g}"
    name = "accuracy" if metric.name == "accuracy" else f"accuracy ({metric.name})"
    return [name, _said(balance, "accuracy"), metric.text(before.score), metric.text(after.score), said, after.data]


def _said(balance: Balance, name: str) -> str:
    return "yes" if name in balance.announced else "no"


def _origin(balance: Balance, name: str) -> str:
    return "estimated" if name in balance.estimated else ""


def _bytes(size: int | None) -> str:
    return "-" if size is None else f"{size:,}"


def _ratio(before: int | None, after: int | None) -> str:
    return f"{after / before:.2f}" if before and after is not None else "-"
