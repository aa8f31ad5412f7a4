"""What each release of an engine runs, as it answered itself; data in ``runtime/operators``, one file an engine.

``python -m benchmarks.operator_table`` asks an installed engine again.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EngineTable", "Release", "order", "table_of"]

_FOLDER = Path(__file__).parent / "operators"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of an engine.

    Attributes:
        version: Of its package.
        newest: The highest version of each operator that it runs; for .onnx files the highest opset of each standard
            domain and the highest ``ONNX IR``.
    """

    version: str
    newest: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTable:
    """The releases of one engine, oldest first; later ones run all that earlier ones run.

    Attributes:
        releases: Those that were asked, at least one.
        custom: Custom operators that the engine brings along.
    """

    releases: tuple[Release, ...]
    custom: frozenset[str]

    def at(self, version: str) -> Release | None:
        """What a version runs at least: the newest release that is not newer; None before the first."""
        asked = [release for release in self.releases if order(release.version) <= order(version)]
        return asked[-1] if asked else None

    def first_with(self, operator: str, version: int) -> str:
        """The first release that runs a version of an operator; empty where none does."""
        able = (release.version for release in self.releases if release.newest.get(operator, 0) >= version)
        return next(able, "")


def order(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, by which versions are compared: 2.5.0.post1 counts as 2.5.0."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


@cache
def table_of(engine: str) -> EngineTable:
    """The table of an engine, by the name that ``--engine`` takes."""
    document: dict[str, Any] = tomllib.loads((_FOLDER / f"{engine}.toml").read_text(encoding="utf-8"))
    newest: dict[str, int] = {}
    releases = []
    for release in document["releases"]:
        newest = newest | release["operators"]
        releases.append(Release(version=release["version"], newest=newest))
    return EngineTable(releases=tuple(releases), custom=frozenset(document["custom"]))
