"""Which wheels a board gets: by its Python and CPU, its profile, and the engine that this machine has."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from tinsmith.devices.setup.wheels import Requirement
from tinsmith.runtime.engines import ENGINES
from tinsmith.runtime.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.devices.setup.tags import Interpreter
    from tinsmith.devices.setup.there import There
    from tinsmith.devices.setup.wheels import Wheel, Wheels
    from tinsmith.devices.transports.steps import Step
    from tinsmith.runtime.engines import EngineChoice
    from tinsmith.runtime.profile import EngineThere, Profile

__all__ = ["Chosen", "choose", "engine_for"]

# Machines for which numpy and cryptography have no wheels: the system brings them.
_BARE_MACHINES = ("armv7l", "armv6l")
_OF_THE_SYSTEM = ("numpy", "cryptography")
_USUAL_TAGS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux2014")
_IMPORTED = {
    "litert": "ai_edge_litert.interpreter",
    "onnxruntime": "onnxruntime",
    "tflite-runtime": "tflite_runtime.interpreter",
}
_OURS = ("cryptography.hazmat.primitives.asymmetric.ed25519", "numpy", "tinsmith.runtime.agent.__main__")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What an environment is made of.

    Attributes:
        engine: Which one.
        wheels: All but our own.
        modules: What must be importable afterwards.
        shared: Whether it needs packages of the system.
    """

    engine: EngineChoice
    wheels: tuple[Wheel, ...]
    modules: tuple[str, ...]
    shared: bool


def engine_for(profile: Profile, machine: str, name: str | None) -> EngineChoice:
    """The engine that was asked for, else the first that the profile has and that comes as a wheel.

    Raises:
        UsageError: There is no engine of that name.
    """
    by_name = {choice.name: choice for choice in ENGINES}
    if name is not None and name not in by_name:
        raise UsageError(f"there is no engine {name!r}", hint=f"choose one of {', '.join(by_name)}")
    if machine in _BARE_MACHINES:  # a 32-bit system may run on a board whose profile is for 64 bits
        return by_name[name or "tflite-runtime"]
    listed = [engine.name for engine in profile.engines if engine.name in by_name and not engine.through]
    return by_name[name or next(iter(listed), "litert")]


def choose(there: There, engine: EngineChoice, stated: EngineThere | None, wheels: Wheels, step: Step) -> Chosen:
    """Find a wheel for all that the board needs.

    Args:
        there: What it has.
        engine: Which one it gets.
        stated: The versions of it that its profile allows.
        wheels: Where to look.
        step: For messages.

    Raises:
        DeviceError: The system must bring a package, and does not.
        HostError: There is no wheel.
    """
    shared = there.interpreter.machine in _BARE_MACHINES
    if shared:
        _check_system(there, step)
    # the engine comes first: where there is none, no other wheel need be fetched
    needed = [_of_the_engine(engine, stated), *([] if shared else _libraries(there, engine))]
    found = [_first(alternatives, there, wheels) or _none(alternatives[-1], there, wheels, step)
             for alternatives in needed]  # fmt: skip
    return Chosen(engine=engine, wheels=tuple(found), modules=(*_OURS, _IMPORTED[engine.name]), shared=shared)


def _libraries(there: There, engine: EngineChoice) -> list[tuple[Requirement, ...]]:
    below = "2" if engine.name == "tflite-runtime" else ""
    needed = [
        Requirement(package="numpy", least="1.26" if not below else "", below=below),
        Requirement(package="cryptography", least="43"),
        Requirement(package="cffi"),
    ]
    if there.interpreter.version < (3, 11):
        needed.append(Requirement(package="typing-extensions"))  # of cryptography
    return [(requirement,) for requirement in needed]


def _of_the_engine(engine: EngineChoice, stated: EngineThere | None) -> tuple[Requirement, ...]:
    """The version that proves models here answers the same bits there; else the newest that the profile allows."""
    allowed = Requirement(
        package=engine.package, least=stated.oldest if stated else "", most=stated.newest if stated else ""
    )
    try:
        return Requirement(package=engine.package, exactly=version(engine.package)), allowed
    except PackageNotFoundError:
        return (allowed,)


def _first(alternatives: Sequence[Requirement], there: There, wheels: Wheels) -> Wheel | None:
    found = (wheels.find(requirement, there.interpreter) for requirement in alternatives)
    return next((wheel for wheel in found if wheel is not None), None)


def _none(requirement: Requirement, there: There, wheels: Wheels, step: Step) -> Wheel:
    interpreter = there.interpreter
    reason = f"{step.address}: {step.doing}: {wheels.where()} has no wheel of {requirement} for {interpreter}"
    raise HostError(reason, hint=_way_out(requirement, there))


def _way_out(requirement: Requirement, there: There) -> str:
    interpreter = there.interpreter
    if requirement.package == "tflite-runtime" and interpreter.version > (3, 11):
        return "its last release is for Python 3.9 to 3.11, as in Debian 12" + (
            "" if interpreter.machine in _BARE_MACHINES else "; or take --engine litert"
        )
    if requirement.package in {choice.package for choice in ENGINES} and interpreter.machine in _BARE_MACHINES:
        return "tflite-runtime has wheels for it, up to Python 3.11: take --engine tflite-runtime"
    return f"put one into a folder and name it with --wheels; {_fetching(requirement, interpreter)} fetches one"


def _fetching(requirement: Requirement, interpreter: Interpreter) -> str:
    """The tags that packages of this kind use; all that there are would fill a page."""
    usual = [f"{tag}_{interpreter.machine}" for tag in _USUAL_TAGS]
    platforms = [f"--platform {platform}" for platform in interpreter.platforms if platform in usual]
    words = ["pip download --no-deps --only-binary=:all: --python-version", ".".join(map(str, interpreter.version))]
    return " ".join([*words, *platforms, requirement.package])


def _check_system(there: There, step: Step) -> None:
    missing = [f"python3-{name}" for name in _OF_THE_SYSTEM if name not in there.packages]
    if missing:
        hint = f"on the device: sudo apt install {' '.join(missing)}"
        packages = " and ".join(name for name in _OF_THE_SYSTEM if name not in there.packages)
        raise step.failed(f"it has no {packages}, and there are no wheels for {there.interpreter.machine}", hint=hint)
