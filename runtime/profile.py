"""Profiles: what a kind of device has and can do, one TOML file each; data, no code.

A file holds what ``Profile`` lists: ``title``, ``kind``, ``aliases``, ``soc``, ``ram_bytes``, ``flash_bytes``,
``threads``, ``transports``, ``emulated``, a table ``[cpu]``, one ``[[engines]]`` an engine, one ``[[accelerators]]``
for each that is there beside the CPU, one ``[[references]]`` for each latency that somebody has published, and
``[sources.X]`` for each of ``cpu``, ``ram_bytes``, ``flash_bytes``, ``engines`` and ``accelerators``: where the figure
comes from, on which day, and whether it was ``measured``, ``published`` or ``estimated``. Keys that nobody knows are
errors. The profile of the host states nothing that can be read: CPU and engine versions are looked up.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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

__all__ = [
    "Accelerator",
    "EngineThere",
    "Kind",
    "Profile",
    "Reference",
    "Source",
    "cpu_of",
    "engines_of",
    "find_profile",
    "list_profiles",
    "load_profile",
]

_FOLDER = Path(__file__).parent / "profiles"
_TRUST = ("measured", "published", "estimated")

Kind = Literal["server", "board", "phone", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineThere:
    """An engine that runs on a device.

    Attributes:
        name: As ``--engine`` takes it.
        oldest: The first version that can be installed there; empty where whatever is installed counts.
        newest: The last one; what a device is set up with.
        through: The program that brings it there and that the user supplies, such as ``benchmark_model`` on phones
            without Python; empty where a wheel does.
    """

    name: str
    oldest: str = ""
    newest: str = ""
    through: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """What a device has beside its CPU.

    Attributes:
        name: As ``--accelerator`` takes it.
        dtypes: The precisions that it computes in; empty where nobody says.
        memory_bytes: Of its own; None where it has none, or nobody says.
        needs: What must be there before a model runs on it, for people; empty for nothing.
    """

    name: str
    dtypes: tuple[str, ...] = ()
    memory_bytes: int | None = None
    needs: str = ""


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
class Reference:
    """A latency that somebody states for a model on a device; tinsmith has not measured it, and it gates nothing.

    Attributes:
        model: Such as ``MobileNet v2``.
        precision: Such as ``float32``; ``not stated`` where the source says nothing.
        size: Of the picture that goes in, as 224x224.
        value_ms: Milliseconds, above 0.
        statistic: ``min``, ``median``, ``mean`` or ``not stated``.
        runtime: What ran it, with its version where that is known.
        threads: None where nobody says.
        accelerator: What it ran on.
        remark: What else to know before comparing; may be empty.
        source: Where it stands.
    """

    model: str
    precision: str
    size: str
    value_ms: float
    statistic: str
    runtime: str
    threads: int | None
    accelerator: str
    remark: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of device.

    Attributes:
        name: The file's name without its ending.
        title: For people.
        kind: ``server``, ``board``, ``phone`` or ``host``.
        engines: The engines that run there, the preferred one first for each format.
        accelerators: What is there beside the CPU.
        threads: CPU threads to use unless told otherwise; at least 1.
        soc: The chip; empty where the profile stands for many.
        cpu: None for the host, whose CPU is read: see ``cpu_of``.
        ram_bytes: Of the variant that has least; None where that is anyone's choice.
        sources: By the name of the attribute that they vouch for.
        aliases: Other names that ``--device`` takes for it.
        flash_bytes: Storage that is built in, of the variant that has least; None where there is a slot for a card.
        transports: How it is reached: schemes of addresses, the usual one first.
        references: Latencies that were published for it.
        emulated: Whether another CPU pretends to be it, so that its time is no device's latency.
    """

    name: str
    title: str
    kind: str
    engines: tuple[EngineThere, ...]
    accelerators: tuple[Accelerator, ...]
    threads: int
    soc: str
    cpu: Cpu | None
    ram_bytes: int | None
    sources: Mapping[str, Source]
    aliases: tuple[str, ...] = ()
    flash_bytes: int | None = None
    transports: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    emulated: bool = False

    @property
    def accelerator_names(self) -> tuple[str, ...]:
        """What ``--accelerator`` may take there, the CPU last."""
        return (*(accelerator.name for accelerator in self.accelerators), "cpu")


def list_profiles() -> tuple[str, ...]:
    """The names of the built-in profiles, in order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def find_profile(name: str) -> str | None:
    """The name of the built-in profile that has this name or alias; None where there is none."""
    return _names().get(name)


def load_profile(name: str) -> Profile:
    """Read a built-in profile by its name or alias, or one of the user's by its path.

    Raises:
        UsageError: There is none, or it is not a whole profile.
    """
    if name.endswith(".toml"):
        return _load(Path(name))
    found = find_profile(name)
    if found is None:
        raise _missing(name)
    return _built_in(found)


@cache
def _names() -> dict[str, str]:
    """The built-in profiles by all their names."""
    names: dict[str, str] = {}
    for profile in map(_built_in, list_profiles()):
        names |= dict.fromkeys((profile.name, *profile.aliases), profile.name)
    return names


@cache
def _built_in(name: str) -> Profile:
    return _load(_FOLDER / f"{name}.toml")


def _load(path: Path) -> Profile:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(str(path)) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the profile {path}: {error}") from error
    hint = "`tinsmith.runtime.profile` lists the keys"
    return _profile(path.stem, Facts(document, of=f"the profile {path}", hint=hint))


def _missing(name: str) -> UsageError:
    return UsageError(f"there is no profile {name!r}", hint=f"built in: {', '.join(list_profiles())}")


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
        accelerators=tuple(_accelerator(table) for table in facts.tables("accelerators", least=0)),
        threads=facts.count("threads"),
        soc=facts.text("soc", default=""),
        cpu=None if cpu is None else _cpu(cpu),
        ram_bytes=facts.maybe_count("ram_bytes"),
        sources={key: _source(table) for key, table in facts.tables_by_name("sources").items()},
        aliases=facts.names("aliases", default=()),
        flash_bytes=facts.maybe_count("flash_bytes"),
        transports=facts.names("transports"),
        references=tuple(_reference(table) for table in facts.tables("references", least=0)),
        emulated="emulated" in facts and facts.flag("emulated"),
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
        max_mhz=facts.maybe_count("max_mhz"),
    )
    facts.end()
    return cpu


def _engine(facts: Facts, *, versions: bool) -> EngineThere:
    name = facts.one_of("name", tuple(choice.name for choice in ENGINES))
    engine = EngineThere(name=name)
    if versions or "newest" in facts:
        engine = EngineThere(
            name=name,
            oldest=facts.version("oldest"),
            newest=facts.version("newest"),
            through=facts.text("through", default=""),
        )
    facts.end()
    return engine


def _accelerator(facts: Facts) -> Accelerator:
    accelerator = Accelerator(
        name=facts.text("name"),
        dtypes=facts.names("dtypes", default=()),
        memory_bytes=facts.maybe_count("memory_bytes"),
        needs=facts.text("needs", default=""),
    )
    facts.end()
    return accelerator


def _reference(facts: Facts) -> Reference:
    reference = Reference(
        model=facts.text("model"),
        precision=facts.text("precision"),
        size=facts.text("size"),
        value_ms=facts.number("value_ms", least=1e-6),
        statistic=facts.one_of("statistic", ("min", "median", "mean", "not stated")),
        runtime=facts.text("runtime"),
        threads=facts.maybe_count("threads"),
        accelerator=facts.text("accelerator", default="cpu"),
        remark=facts.text("remark", default=""),
        source=_stated(facts),
    )
    facts.end()
    return reference


def _source(facts: Facts) -> Source:
    source = _stated(facts)
    facts.end()
    return source


def _stated(facts: Facts) -> Source:
    return Source(trust=facts.one_of("trust", _TRUST), where=facts.text("where"), date=facts.day("date"))


def _check_sources(profile: Profile, facts: Facts) -> None:
    """Every figure has a source, and every source a figure; a latency carries its own."""
    stated = {
        "cpu": profile.cpu is not None,
        "ram_bytes": profile.ram_bytes is not None,
        "flash_bytes": profile.flash_bytes is not None,
        "engines": any(engine.newest for engine in profile.engines),
        "accelerators": bool(profile.accelerators),
    }
    for key, there in stated.items():
        if there and key not in profile.sources:
            raise facts.wrong(f"does not say where {key} comes from", hint=f"add a table [sources.{key}]")
    for key in profile.sources:
        if not stated.get(key, False):
            raise facts.wrong(f"names a source for {key}, which it does not state", hint=f"drop [sources.{key}]")
