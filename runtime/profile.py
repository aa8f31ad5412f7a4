"""Profiles: what a kind of device has and can do, one TOML file each; data, no code.

A file holds what ``Profile`` lists: ``title``, ``kind``, ``soc``, ``ram_bytes``, ``threads``, ``accelerators``, a table
``[cpu]``, one ``[[engines]]`` an engine, and ``[sources.X]`` for each of ``cpu``, ``ram_bytes`` and ``engines``: where
the figure comes from, on which day, and whether it was ``measured``, ``published`` or ``estimated``. Keys that nobody
knows are errors. The profile of the host states nothing that can be read: CPU and engine versions are looked up.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.runtime.cpu import ARCHITECTURES, FEATURES, Cpu, read_cpu
from tinsmith.runtime.engines import ENGINES
from tinsmith.runtime.errors import HostError, UsageError
from tinsmith.runtime.facts import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["EngineThere", "Kind", "Profile", "Source", "cpu_of", "engines_of", "list_profiles", "load_profile"]

_FOLDER = Path(__file__).parent / "profiles"

Kind = Literal["server", "board", "phone", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineThere:
    """An engine that runs on a device.

    Attributes:
        name: As ``--engine`` takes it.
        oldest: The first version that can be installed there; empty where whatever is installed counts.
        newest: The last one; what a device is set up with.
    """

    name: str
    oldest: str = ""
    newest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a figure comes from.

    Attributes:
        trust: ``measured``, ``published`` or ``estimated``; estimates gate nothing.
        where: A document, an address or a command.
        date: The day on which it was written down, as 2026-11-24.
    """

    trust: str
    where: str
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of device.

    Attributes:
        name: The file's name without its ending.
        title: For people.
        kind: ``server``, ``board``, ``phone`` or ``host``.
        engines: The engines that run there, the preferred one first for each format.
        accelerators: Names that ``--accelerator`` may take there.
        threads: CPU threads to use unless told otherwise; at least 1.
        soc: The chip; empty where the profile stands for many.
        cpu: None for the host, whose CPU is read: see ``cpu_of``.
        ram_bytes: Of the variant that has least; None where that is anyone's choice.
        sources: By the name of the attribute that they vouch for.
    """

    name: str
    title: str
    kind: str
    engines: tuple[EngineThere, ...]
    accelerators: tuple[str, ...]
    threads: int
    soc: str
    cpu: Cpu | None
    ram_bytes: int | None
    sources: Mapping[str, Source]


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
    return _profile(path.stem, Facts(facts, of=f"the profile {path}", hint="`tinsmith.runtime.profile` lists the keys"))


def cpu_of(profile: Profile) -> Cpu:
    """The CPU that a profile states; for the host, the one that this machine has.

    Raises:
        HostError: This machine does not say what its CPU can do.
    """
    cpu = profile.cpu or read_cpu()
    if cpu is None:
        raise HostError(
            "this machine does not say which instructions its CPU has",
            hint=f"name a profile with --device: {', '.join(p for p in list_profiles() if p != profile.name)}",
        )
    return cpu


def engines_of(profile: Profile) -> tuple[EngineThere, ...]:
    """The engines of a profile with their versions; those of the host are the installed ones, and no others."""
    found = []
    for engine in profile.engines:
        if engine.newest:
            found.append(engine)
        elif version := _installed(engine.name):
            found.append(EngineThere(name=engine.name, oldest=version, newest=version))
    return tuple(found)


def _installed(engine: str) -> str:
    package = next(choice.package for choice in ENGINES if choice.name == engine)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _profile(name: str, facts: Facts) -> Profile:
    kind = facts.one_of("kind", ("server", "board", "phone", "host"))
    cpu = facts.table("cpu") if "cpu" in facts or kind != "host" else None
    profile = Profile(
        name=name,
        title=facts.text("title"),
        kind=kind,
        engines=tuple(_engine(table, versions=kind != "host") for table in facts.tables("engines")),
        accelerators=facts.names("accelerators"),
        threads=facts.count("threads"),
        soc=facts.text("soc", default=""),
        cpu=None if cpu is None else _cpu(cpu),
        ram_bytes=facts.count("ram_bytes") if "ram_bytes" in facts else None,
        sources={key: _source(table) for key, table in facts.tables_by_name("sources").items()},
    )
    facts.end()
    _check_sources(profile, facts)
    return profile


def _cpu(facts: Facts) -> Cpu:
    arch = facts.one_of("arch", ARCHITECTURES)
    cpu = Cpu(
        arch=arch,
        features=frozenset(facts.names("features", known=FEATURES[arch])),
        model=facts.text("cores"),
        max_mhz=facts.count("max_mhz") if "max_mhz" in facts else None,
    )
    facts.end()
    return cpu


def _engine(facts: Facts, *, versions: bool) -> EngineThere:
    name = facts.one_of("name", tuple(choice.name for choice in ENGINES))
    engine = EngineThere(name=name)
    if versions or "newest" in facts:
        engine = EngineThere(name=name, oldest=facts.version("oldest"), newest=facts.version("newest"))
    facts.end()
    return engine


def _source(facts: Facts) -> Source:
    source = Source(
        trust=facts.one_of("trust", ("measured", "published", "estimated")),
        where=facts.text("where"),
        date=facts.day("date"),
    )
    facts.end()
    return source


def _check_sources(profile: Profile, facts: Facts) -> None:
    """Every figure has a source, and every source a figure."""
    stated = {"cpu": profile.cpu is not None, "ram_bytes": profile.ram_bytes is not None}
    stated["engines"] = any(engine.newest for engine in profile.engines)
    for key, there in stated.items():
        if there and key not in profile.sources:
            raise facts.wrong(f"does not say where {key} comes from", hint=f"add a table [sources.{key}]")
    for key in profile.sources:
        if not stated.get(key, False):
            raise facts.wrong(f"names a source for {key}, which it does not state", hint=f"drop [sources.{key}]")
