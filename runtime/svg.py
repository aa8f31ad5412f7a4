"""Parts of plots as SVG, and pages of HTML that hold them and need nothing else: no script, no font, no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BLUE",
    "BLUSH",
    "GREEN",
    "GREY",
    "ORANGE",
    "PALE",
    "PAPER",
    "RED",
    "SOFT",
    "STYLE",
    "WIDTH",
    "bar",
    "html_page",
    "line",
    "svg",
    "text",
]

WIDTH = 1000
# Names of colours that a page's style gives for light and dark; blue and orange are told apart by everyone.
BLUE, RED, ORANGE, GREEN = "var(--blue)", "var(--red)", "var(--orange)", "var(--green)"
GREY, PALE, SOFT, PAPER, BLUSH = "var(--grey)", "var(--pale)", "var(--soft)", "var(--paper)", "var(--blush)"

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --quiet: #f6f8fa; --blush: #fde3e0;
  --grey: #8c959f; --pale: #d8dee4; --blue: #1f5fa8; --red: #b3261e; --orange: #b35900; --green: #4f7a28; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #a3adb8; --paper: #0d1117;
  --quiet: #161b22; --blush: #4a2522; --grey: #7d8792; --pale: #30363d; --blue: #6cb0ff; --red: #ff8a80;
  --orange: #f0a04b; --green: #8ac26b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.verdict { font-size: 1.05rem; margin: .25rem 0 1rem; } .note { color: var(--soft); font-size: 13px; }
.bad { color: var(--red); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; } dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; } code { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid var(--pale); vertical-align: top;
  font-variant-numeric: tabular-nums; } th { border-bottom: 2px solid var(--soft); }
@media print { body { margin: 0; max-width: none; font-size: 11px; } table, .note { font-size: 9px; }
  p.verdict { font-size: 12px; } tr, svg, li { break-inside: avoid; } thead { display: table-header-group; }
  h2 { break-after: avoid; } }
"""


def html_page(title: str, parts: Iterable[str], *, style: str) -> str:
    """A whole page.

    Args:
        title: As text.
        parts: Of its body, as HTML.
        style: CSS, such as ``STYLE`` and more.
    """
    head = f"<title>{escape(title)}</title><style>{style}</style>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}</head><body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def svg(parts: Iterable[str], height: float, said: str, *, width: float = WIDTH) -> str:
    """A plot.

    Args:
        parts: Of it, as SVG.
        height: In the same unit.
        said: What it shows, for those who can't see it.
        width: In the same unit.
    """
    inner = "\n".join(parts)
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(said)}">\n{inner}\n</svg>'


def line(x1: float, y1: float, x2: float, y2: float, color: str, *, dashed: bool = False) -> str:
    """From one point to another."""
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"{dashes}/>'


def text(x: float, y: float, said: str, *, anchor: str = "end", color: str = "") -> str:
    """A word; ``x`` is its end unless ``anchor`` says ``start`` or ``middle``."""
    style = f' style="fill:{color}"' if color else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(said)}</text>'


def bar(x: float, y: float, width: float, height: float, color: str) -> str:
    """A rectangle that is not closed yet, so that a title can follow; nothing is lower than 0."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(0.0, height):.1f}" fill="{color}">'
