"""The mirror of Debian that apt uses on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["debian_mirror", "mirrors_in"]

_VARIABLE = "TINSMITH_DEBIAN_MIRROR"
_APT = Path("/etc/apt")
# deb [options] URI suite component...
_LINE = re.compile(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+\S+\s+(.*)")
_FIELD = re.compile(r"([A-Za-z-]+):\s*(.*)")


def debian_mirror(apt: Path = _APT) -> str:
    """The address of the first one among apt's sources; ``$TINSMITH_DEBIAN_MIRROR`` comes before them.

    Raises:
        HostError: apt has none.
    """
    if told := os.environ.get(_VARIABLE):
        return told
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list")),
             *sorted((apt / "sources.list.d").glob("*.sources"))]  # fmt: skip
    for file in files:
        for uri in mirrors_in(file.read_text(errors="replace")) if file.is_file() else ():
            return uri
    hint = f"name one: export {_VARIABLE}=ADDRESS"
    raise HostError(f"apt knows no mirror of Debian, by {apt}/sources.list and sources.list.d", hint=hint)


def mirrors_in(text: str) -> Iterator[str]:
    """The mirrors that a file of apt names, in either of its two forms (sources.list(5)), without that of security."""
    for line in text.splitlines():
        if found := _LINE.match(line):
            yield from _of_debian(found[1], found[2])
    for stanza in re.split(r"\n\s*\n", text):
        fields = {m[1].lower(): m[2] for m in map(_FIELD.match, stanza.splitlines()) if m}
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            for uri in fields.get("uris", "").split():
                yield from _of_debian(uri, fields.get("components", ""))


def _of_debian(uri: str, components: str) -> Iterator[str]:
    """Mirrors of Debian end so by convention; those of Ubuntu and of vendors don't."""
    if "main" in components.split() and uri.rstrip("/").endswith("/debian"):
        yield uri.rstrip("/")
