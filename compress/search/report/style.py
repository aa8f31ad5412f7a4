"""How the page looks, on a screen, a phone and paper, and the few lines of script that sort its tables."""

from __future__ import annotations

from tinsmith.convert.layers.page import LAYERS_STYLE
from tinsmith.runtime.svg import STYLE

__all__ = ["SCRIPT", "STYLE_OF_PAGE"]

STYLE_OF_PAGE = (
    STYLE
    + LAYERS_STYLE
    + """
body { max-width: 76rem; } .w { text-align: left; } td.w { overflow-wrap: anywhere; min-width: 3.5rem; }
h1 code { font-size: inherit; } .banner { border: 2px solid var(--orange); border-radius: 6px; padding: .6rem 1rem;
  margin: 1rem 0; } .banner p, .banner ul { margin: .25rem 0; } .banner b { color: var(--orange); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem 2rem; }
.pair > * { min-width: 0; }
.chosen td, .nearest td { font-weight: 600; background: var(--quiet); } .front td { background: var(--quiet); }
.chosen td:first-child, .nearest td:first-child { border-left: 4px solid var(--orange); }
.front td:first-child { border-left: 4px solid var(--blue); }
:is(.misses, .hopeless, .outdone, .failed) td { color: var(--soft); }
td.bad { color: var(--red); } tr:target td { background: var(--blush); }
svg a { cursor: pointer; } svg a:is(:hover, :focus) > * { stroke: var(--ink); stroke-width: 2; }
path.chosen { fill: var(--orange); stroke: var(--paper); stroke-width: 1; fill-opacity: 1; }
path.nearest { fill: var(--paper); stroke: var(--orange); stroke-width: 2.5; }
:is(circle, path).front { fill: var(--blue); stroke: var(--paper); }
:is(circle, path).kept { fill: var(--paper); stroke: var(--blue); stroke-width: 1.5; }
:is(circle, path):is(.misses, .hopeless, .outdone) { fill: var(--grey); fill-opacity: .35; stroke: var(--grey);
  stroke-opacity: .6; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: 13px; color: var(--soft); margin: .25rem 0; }
.legend svg { display: inline-block; width: 18px; height: 18px; vertical-align: -4px; margin-right: .25rem; }
th button { all: unset; cursor: pointer; text-align: inherit; }
th button:focus-visible { outline: 2px solid var(--blue); }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
pre { background: var(--quiet); padding: .5rem .75rem; margin: .15rem 0 .75rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, monospace; } .does { margin: 0; color: var(--soft); }
@page broad { size: A4 landscape; margin: 10mm; }
@media screen { .trials .wide { max-height: 40rem; overflow: auto; }
  .trials thead th { position: sticky; top: 0; background: var(--paper); } }
@media print { .trials { page: broad; } .pair { grid-template-columns: 1fr 1fr; } pre { font-size: 10px; }
  .trials table { font-size: 7.5px; } .trials :is(th, td) { padding: .15rem .25rem; } a { color: inherit; } }
@media (max-width: 40rem) { body { margin: 1rem auto; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; } svg text { font-size: 14px; } }
"""
).replace("\n", " ")

# Without it the page is the same, and the tables stay as they are.
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const key = row => row.cells[at].dataset.v, words = head.className === "w";
      const rows = [...body.rows].sort((a, b) => {
        if (words) return way * a.cells[at].textContent.localeCompare(b.cells[at].textContent);
        const one = key(a), other = key(b);
        if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
        return way * (one - other);
      });
      body.append(...rows);
    });
  });
}
"""
