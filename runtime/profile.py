"""Profiles: what a kind of device has and can do, one TOML file each; data, no code."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinsmith.runtime.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Profile", "list_profiles", "load_profile"]

_FOLDER = Path(__file__).parent / "profiles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of device.

    Attributes:
        name: The file's name without its ending.
        title: For people.
        kind: ``server``, ``board``, ``phone`` or ``host``.
        engines: Names of the engines that run there, the preferred one first for each format.
        accelerators: Names that ``--accelerator`` may take there.
        threads: CPU threads to use unless told otherwise; at least 1.
    """

    name: str
    title: str
    kind: str
    engines: tuple[str, ...]
    accelerators: tuple[str, ...]
    threads: int


def list_profiles() -> tuple[str, ...]:
    """The names of the built-in profiles, in order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_profile(name: str) -> Profile:
    """Read a built-in profile by its name, or one of the user's by its path.

    Raises:
        UsageError: There is none, or it is not a whole profile.
    """
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    try:
        facts: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no profile {name!r}", hint=f"built in: {', '.join(list_profiles())}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the profile {path}: {error}") from error
    try:
        return Profile(
            name=path.stem,
            title=facts.pop("title"),
            kind=facts.pop("kind"),
            engines=tuple(facts.pop("engines")),
            accelerators=tuple(facts.pop("accelerators")),
            threads=facts.pop("threads"),
        )
    except KeyError as error:
        raise UsageError(f"the profile {path} lacks {error}") from None
