"""Whether a bundle or an artifact fits a device, found out from data alone before anything is sent.

The manifests say what an artifact needs, the profile what the device has: no engine, no framework and no device is
needed. What is only estimated is said to be, and refuses nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.artifact import read_artifact
from tinsmith.runtime.bundle.reading import is_bundle, open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.preflight import check_operators
from tinsmith.runtime.profile import cpu_of, engines_of

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.runtime.artifact import Artifact
    from tinsmith.runtime.bundle.manifest import Settings
    from tinsmith.runtime.profile import Accelerator, Profile

__all__ = ["Finding", "Fit", "Load", "check_fit", "read_load"]

# Types that compute nothing, or that nobody could tell.
_SILENT = frozenset({"-", "integer", "unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to go to a device.

    Attributes:
        name: Of the file.
        artifact: What its manifest says.
        sent_bytes: What is sent: the bundle, or the artifact with the files beside it.
        settings: How the bundle wants it to be run; None for a bare artifact.
    """

    name: str
    artifact: Artifact
    sent_bytes: int
    settings: Settings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look has found.

    Attributes:
        what: ``engine``, ``accelerator``, ``dtypes``, ``disk``, ``RAM`` or ``made for``.
        fits: None where nobody knows, or where it is only an estimate.
        said: Why, for people, with figures.
        estimated: Whether the figures are estimates.
    """

    what: str
    fits: bool | None
    said: str
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """All that was found for one device.

    Attributes:
        device: Its name, or the profile's.
        profile: The profile's name.
        findings: In the order in which a user wants to know.
    """

    device: str
    profile: str
    findings: tuple[Finding, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against it for sure."""
        return all(finding.fits is not False for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        findings = [asdict(finding) for finding in self.findings]
        return {"device": self.device, "profile": self.profile, "fits": self.fits, "findings": findings}


def read_load(path: Path) -> Load:
    """Read a bundle, or an artifact with the manifest beside it; every byte is held against its hash.

    Who signed a bundle is not asked: the device asks that.

    Raises:
        DataError: It is neither, or damaged.
        VerificationError: It is not what its manifest says.
    """
    if is_bundle(path):
        with open_bundle(path, trust=AllowUnsigned()) as bundle:
            manifest = bundle.manifest
        sent_bytes = path.stat().st_size
        return Load(name=path.name, artifact=manifest.artifact, sent_bytes=sent_bytes, settings=manifest.settings)
    artifact = read_artifact(path)
    return Load(name=path.name, artifact=artifact, sent_bytes=artifact.total_bytes)


def check_fit(load: Load, profile: Profile, *, device: str = "") -> Fit:
    """Hold what is to go to a device against what the device has.

    Args:
        load: From ``read_load``.
        profile: Of the device.
        device: Its name; the profile's unless given.
    """
    findings = (
        *_engine(load, profile),
        *_accelerator(load, profile),
        _dtypes(load, profile),
        _disk(load, profile),
        _ram(load, profile),
        *_made_for(load, profile),
    )
    return Fit(device=device or profile.name, profile=profile.name, findings=findings)


def _engine(load: Load, profile: Profile) -> list[Finding]:
    preflight = check_operators(load.artifact.format, load.artifact.operators, profile, needs=load.artifact.needs)
    through = {engine.name: engine.through for engine in profile.engines if engine.through}
    wanted = None if load.settings is None else load.settings.engine
    if wanted is not None and wanted not in {engine.name for engine in engines_of(profile)}:
        there = ", ".join(engine.name for engine in engines_of(profile)) or "none"
        said = f"the bundle is made for {wanted}, and {profile.name} has {there}"
        return [Finding(what="engine", fits=False, said=said)]
    verdicts = [verdict for verdict in preflight.verdicts if wanted in (None, verdict.engine)]
    if not verdicts:
        return [Finding(what="engine", fits=False, said=said) for said in preflight.said]
    able = any(verdict.runs is not False for verdict in verdicts)
    return [
        # an engine that does not run it is no obstacle where another one does
        Finding(
            what="engine",
            fits=None if verdict.runs is False and able else verdict.runs,
            said=verdict.said + (f", by the {by} that you supply" if (by := through.get(verdict.engine)) else ""),
        )
        for verdict in verdicts
    ]


def _wanted_accelerators(load: Load) -> tuple[str, ...]:
    return ("cpu",) if load.settings is None else tuple(n.strip() for n in load.settings.accelerator.split(","))


def _accelerator(load: Load, profile: Profile) -> list[Finding]:
    """Accelerators that the bundle asks for; it runs where one of them is there."""
    wanted = _wanted_accelerators(load)
    if wanted == ("cpu",) or profile.kind == "host":
        return []
    there = [name for name in wanted if name in profile.accelerator_names]
    missing = [name for name in wanted if name not in profile.accelerator_names]
    if not there:
        said = f"the bundle asks for {', '.join(wanted)}, and {profile.name} has {', '.join(profile.accelerator_names)}"
        return [Finding(what="accelerator", fits=False, said=said)]
    away = [f"{name} is not there, and {there[0]} takes over" for name in missing]
    needs = [f"{a.name} needs {a.needs}" for a in profile.accelerators if a.name in there and a.needs]
    return [Finding(what="accelerator", fits=None, said=said) for said in (*away, *needs)]


def _dtypes(load: Load, profile: Profile) -> Finding:
    precisions = sorted({use.precision for use in load.artifact.operators} - _SILENT)
    said = ", ".join(precisions) or "nothing that computes"
    wanted = [name for name in _wanted_accelerators(load) if name in profile.accelerator_names]
    able = {accelerator.name: accelerator for accelerator in profile.accelerators}
    refused = [name for name in wanted if name in able and not _computes(able[name], precisions)]
    if not refused:
        return Finding(what="dtypes", fits=True, said=f"{said} on {', '.join(wanted) or 'cpu'}")
    takes = "; ".join(f"{name} computes in {', '.join(able[name].dtypes)} alone" for name in refused)
    rest = [name for name in wanted if name not in refused]
    if rest:
        return Finding(what="dtypes", fits=True, said=f"{said}: {takes}, and {rest[0]} takes over")
    return Finding(what="dtypes", fits=False, said=f"the artifact computes in {said}: {takes}")


def _computes(accelerator: Accelerator, precisions: list[str]) -> bool:
    return not accelerator.dtypes or set(precisions) <= set(accelerator.dtypes)


def _disk(load: Load, profile: Profile) -> Finding:
    """A new deployment lies beside the one before, sent and unpacked."""
    needed_bytes = load.sent_bytes + load.artifact.total_bytes
    needs = f"needs {needed_bytes:,} bytes beside the present one"
    if profile.flash_bytes is None:
        where = f"{profile.name} does not say how much it has"
        return Finding(what="disk", fits=None, said=f"{needs}; {where}: `tinsmith devices probe` asks the device")
    fits = needed_bytes <= profile.flash_bytes
    return Finding(what="disk", fits=fits, said=f"{needs}, of {profile.flash_bytes:,} in all")


def _ram(load: Load, profile: Profile) -> Finding:
    """What the file alone takes is known; all else is an estimate, which refuses nothing."""
    instances = 1 if load.settings is None else load.settings.instances
    file_bytes, activation_bytes = load.artifact.total_bytes, load.artifact.activation_bytes
    if profile.ram_bytes is not None and file_bytes > profile.ram_bytes:
        said = f"the file alone has {file_bytes:,} bytes, and {profile.name} {profile.ram_bytes:,}"
        return Finding(what="RAM", fits=False, said=said)
    if activation_bytes is None:
        said = f"{file_bytes:,} bytes of file; its manifest does not say what activations take"
        return Finding(what="RAM", fits=None, said=said, estimated=True)
    about_bytes = file_bytes + activation_bytes * instances
    times = f", {instances} times" if instances > 1 else ""
    parts = f"about {about_bytes:,} bytes: file {file_bytes:,}, activations {activation_bytes:,}{times} (estimated)"
    return Finding(what="RAM", fits=None, said=parts + _compared(about_bytes, profile), estimated=True)


def _compared(about_bytes: int, profile: Profile) -> str:
    if profile.ram_bytes is None:
        return f"; {profile.name} does not say how much it has"
    verdict = "" if about_bytes <= profile.ram_bytes else ": too little by this estimate"
    return f", of {profile.ram_bytes:,}{verdict}; engine and Python come on top"


def _made_for(load: Load, profile: Profile) -> list[Finding]:
    """Another profile's artifact may run; its integers were chosen for another CPU."""
    made_for = load.artifact.lineage.device or ("" if load.settings is None else load.settings.device)
    if made_for in ("", "local", profile.name):
        return []
    clips = profile.cpu is not None and cpu_of(profile).saturates
    risk = ", whose sums of int8 products can saturate" if clips else ""
    said = f"made for {made_for}, and this is a {profile.name}{risk}; `tinsmith inspect -d {profile.name}` says more"
    return [Finding(what="made for", fits=None, said=said)]
