"""Whether a device's engine can run an artifact, found out from data alone, before anything is sent or written.

An engine refuses a file for one operator version that it does not know, whatever else is in it: a dynamic-range file of
TensorFlow 2.19 does not load on tflite-runtime 2.14. The artifact's operators are held against what each release of the
engine answered when it was asked; neither engine nor framework is needed for that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tinsmith.runtime.engine_tables import order, table_of
from tinsmith.runtime.engines import ENGINES
from tinsmith.runtime.errors import UnsupportedOperatorError
from tinsmith.runtime.profile import engines_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinsmith.runtime.artifact import OperatorUse
    from tinsmith.runtime.engine_tables import EngineTable
    from tinsmith.runtime.profile import EngineThere, Profile

__all__ = ["EngineVerdict", "Obstacle", "Preflight", "check_operators", "refuse_unless_runs"]

_FLEX = "Flex"
_EDGETPU = "edgetpu-custom-op"
_STATED = "TFLite runtime"
_ONNX_IR = "ONNX IR"
_STANDARD = ("ai.onnx", "ai.onnx.ml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One thing in the artifact that an engine does not run.

    Attributes:
        operator: Its name; for .onnx files also a domain or ``ONNX IR``.
        needed: The version that the artifact uses.
        there: The newest version that the engine runs; 0 for none at all.
        since: The first release of the engine that runs it; empty where none does.
        reason: Why, for people.
    """

    operator: str
    needed: int
    there: int
    since: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineVerdict:
    """What one engine of a device says to an artifact.

    Attributes:
        engine: Its name.
        version: The newest version that the device can have.
        runs: Whether it runs; None where nobody knows.
        least: The oldest version that runs it, where the device may have an older one; empty otherwise.
        obstacles: What stands in the way.
        remark: What else there is to know.
    """

    engine: str
    version: str
    runs: bool | None
    least: str = ""
    obstacles: tuple[Obstacle, ...] = ()
    remark: str = ""

    @property
    def said(self) -> str:
        """In one line."""
        if self.runs is None:
            return f"not known for {self.engine} {self.version}: {self.remark}"
        if self.runs:
            since = f", {self.least} or later" if self.least else ""
            return f"runs on {self.engine} {self.version}{since}{f' ({self.remark})' if self.remark else ''}"
        return f"does not run on {self.engine} {self.version}: {'; '.join(o.reason for o in self.obstacles)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What all engines of a device say.

    Attributes:
        device: The profile's name.
        format: ``tflite`` or ``onnx``.
        verdicts: One for each engine that takes the artifact's format; none where no engine does.
    """

    device: str
    format: str
    verdicts: tuple[EngineVerdict, ...]

    @property
    def runs(self) -> bool | None:
        """Whether one of them runs it; None where none does for sure and one may."""
        found = {verdict.runs for verdict in self.verdicts}
        return True if True in found else None if None in found else False

    @property
    def said(self) -> tuple[str, ...]:
        """One line an engine."""
        if not self.verdicts:
            return (f"does not run: {self.device} has no engine for .{self.format} files",)
        return tuple(verdict.said for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {"device": self.device, "runs": self.runs, "engines": [asdict(verdict) for verdict in self.verdicts]}


def check_operators(
    artifact_format: str, operators: Sequence[OperatorUse], profile: Profile, *, needs: Mapping[str, str]
) -> Preflight:
    """Hold an artifact's operators against the engines of a device.

    Args:
        artifact_format: ``tflite`` or ``onnx``.
        operators: As the artifact's manifest lists them.
        profile: Of the device.
        needs: What else the manifest says that the artifact needs: ``ONNX IR``, and the ``TFLite runtime`` that the
            file itself names, which counts only where there is no table for the engine's version.
    """
    able = {choice.name for choice in ENGINES if artifact_format in choice.formats}
    wanted = _onnx_wanted(operators, needs) if artifact_format == "onnx" else _tflite_wanted(operators)
    verdicts = tuple(
        _verdict(engine, wanted, profile, stated=needs.get(_STATED, ""))
        for engine in engines_of(profile)
        if engine.name in able
    )
    return Preflight(device=profile.name, format=artifact_format, verdicts=verdicts)


def refuse_unless_runs(preflight: Preflight, name: str) -> None:
    """Go on where the artifact runs, or may.

    Raises:
        UnsupportedOperatorError: No engine of the device runs it.
    """
    if preflight.runs is False:
        raise UnsupportedOperatorError(
            f"{name} is nothing for {preflight.device}: {'; '.join(preflight.said)}", hint=_hint(preflight)
        )


def _hint(preflight: Preflight) -> str:
    obstacles = [o for verdict in preflight.verdicts for o in verdict.obstacles]
    if any(o.since for o in obstacles):
        newer = max((o.since for o in obstacles if o.since), key=order)
        return f"the engine runs it from {newer} on; or try scheme int8, which needs older operators"
    return "scheme int8 and the engine ai-edge-quantizer need older operators; another format may do as well"


class _Wanted(NamedTuple):
    name: str
    version: int
    custom: bool = False


def _tflite_wanted(operators: Sequence[OperatorUse]) -> list[_Wanted]:
    return [_Wanted(use.name, use.version, use.custom) for use in operators]


def _onnx_wanted(operators: Sequence[OperatorUse], needs: Mapping[str, str]) -> list[_Wanted]:
    """Standard operators are as new as their domain's opset; functions that the file itself holds need nothing."""
    wanted: dict[str, _Wanted] = {}
    if needs.get(_ONNX_IR, "").isdigit():
        wanted[_ONNX_IR] = _Wanted(_ONNX_IR, int(needs[_ONNX_IR]))
    for use in operators:
        domain = use.name.rpartition(".")[0] or "ai.onnx"
        if domain in _STANDARD:
            wanted[domain] = _Wanted(domain, use.version)
        elif domain == "com.microsoft" or use.custom:
            wanted[use.name] = _Wanted(use.name, 1, use.custom)
    return list(wanted.values())


def _verdict(engine: EngineThere, wanted: Sequence[_Wanted], profile: Profile, *, stated: str) -> EngineVerdict:
    table = table_of(engine.name)
    release = table.at(engine.newest)
    if release is None:
        return _by_statement(engine, stated, oldest=table.releases[0].version)
    brought = table.custom | ({_EDGETPU} if "edgetpu" in profile.accelerator_names else set())
    missing = [w for w in wanted if release.newest.get(w.name, 0) < w.version and w.name not in brought]
    if missing:
        obstacles = tuple(_obstacle(w, release.newest.get(w.name, 0), table) for w in _once(missing))
        return EngineVerdict(engine=engine.name, version=engine.newest, runs=False, obstacles=obstacles)
    least = _least(engine, table, wanted)
    return EngineVerdict(engine=engine.name, version=engine.newest, runs=True, least=least)


def _once(missing: Sequence[_Wanted]) -> list[_Wanted]:
    """Each operator with the newest version that is wanted of it."""
    newest: dict[str, _Wanted] = {}
    for wanted in missing:
        newest[wanted.name] = max(wanted, newest.get(wanted.name, wanted))
    return list(newest.values())


def _by_statement(engine: EngineThere, stated: str, *, oldest: str) -> EngineVerdict:
    """Before the first release that was asked, only the file's own word is left; it counts in TensorFlow's versions."""
    unknown = f"the first version that tinsmith knows is {oldest}, and the file does not say what it needs"
    if not order(stated):
        return EngineVerdict(engine=engine.name, version=engine.newest, runs=None, remark=unknown)
    if order(stated) <= order(engine.newest):
        remark = f"by the file's own word: TFLite {stated}"
        return EngineVerdict(engine=engine.name, version=engine.newest, runs=True, remark=remark)
    reason = f"the file says that it needs TFLite {stated}"
    obstacle = Obstacle(operator=_STATED, needed=0, there=0, since="", reason=reason)
    return EngineVerdict(engine=engine.name, version=engine.newest, runs=False, obstacles=(obstacle,))


def _least(engine: EngineThere, table: EngineTable, wanted: Sequence[_Wanted]) -> str:
    """The first release that runs all of it, where a device may have an older one."""
    firsts = [table.first_with(w.name, w.version) for w in wanted if w.name not in table.custom]
    least = max((first for first in firsts if first), key=order, default="")
    return least if order(least) > max(order(engine.oldest), order(table.releases[0].version)) else ""


def _obstacle(wanted: _Wanted, there: int, table: EngineTable) -> Obstacle:
    since = table.first_with(wanted.name, wanted.version)
    return Obstacle(
        operator=wanted.name,
        needed=wanted.version,
        there=there,
        since=since,
        reason=_reason(wanted, there) + (f", which {since} brings" if since else ""),
    )


def _reason(wanted: _Wanted, there: int) -> str:
    name, version, custom = wanted
    if name == _EDGETPU:
        return f"{name} needs an Edge TPU"
    if custom and name.startswith(_FLEX):
        return f"{name} needs the Flex delegate, and with it most of TensorFlow"
    if custom:
        return f"{name} is a custom operator, whose code the engine does not have"
    if not there:
        return f"{name} is unknown there"
    return f"{name} version {version} is needed, and {there} is the newest there"
