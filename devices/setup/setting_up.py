"""Setting up one board; see the package for what it gets."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.devices.asking import Agent
from tinsmith.devices.placing import base_on
from tinsmith.devices.reaching import open_device
from tinsmith.devices.setup.choosing import choose, engine_for
from tinsmith.devices.setup.own_wheel import write_own_wheel
from tinsmith.devices.setup.pip import PipWheels
from tinsmith.devices.setup.report import Laid, Outcome, SetUp
from tinsmith.devices.setup.serving import PlacedFile, script_of, settings_of, units_of
from tinsmith.devices.setup.systemd import check_running, keep_running, refuse_other
from tinsmith.devices.setup.there import Board, find_python, look
from tinsmith.devices.setup.wheels import FolderOfWheels, wheel_at
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.agent.answers import DeviceFacts
from tinsmith.runtime.agent.requests import Facts
from tinsmith.runtime.bundle.minisign import key_name, load_public_key
from tinsmith.runtime.errors import HostError, NoRoomError, TinsmithError
from tinsmith.runtime.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.devices.device import Device
    from tinsmith.devices.setup.choosing import Chosen
    from tinsmith.devices.setup.report import Wanted
    from tinsmith.devices.setup.there import There
    from tinsmith.devices.setup.wheels import Wheel
    from tinsmith.devices.transports.protocol import Transport

__all__ = ["set_up", "set_up_all"]

_LOG = logging.getLogger(__name__)
_NO_PROGRESS_S = 60.0
_UNPACK_LIMIT_S = 600.0
_LIMIT_S = 120.0
# Changes whenever the same wheels would make another environment.
_LAYOUT = 1


def set_up_all(devices: Sequence[Device], wanted: Wanted) -> tuple[Outcome, ...]:
    """Set up devices one after the other; one that fails keeps no other from it."""
    return tuple(_outcome(device, wanted) for device in devices)


def _outcome(device: Device, wanted: Wanted) -> Outcome:
    _LOG.info("setting up %s", device.name)
    try:
        with closing(open_device(device)) as transport:
            return Outcome(device=device, done=set_up(device, transport, wanted=wanted))
    except TinsmithError as error:
        return Outcome(device=device, error=_about(device, error))


def _about(device: Device, error: TinsmithError) -> TinsmithError:
    """The same error with the name by which the user knows the device, and the command that goes on."""
    again = f"tinsmith devices setup -d {device.name}"
    hint = error.hint if again in error.hint else f"{error.hint}; then: {again}" if error.hint else again
    return type(error).revive(f"{device.name}: {error.message}", hint)


def set_up(device: Device, transport: Transport, *, wanted: Wanted) -> SetUp:
    """Give a board all that it needs; asked again, it sends only what is missing, and changes only what is different.

    A cut at any moment leaves what the board had before, and the next call goes on.

    Raises:
        UsageError: There is no such engine, a key is none, or the board's own ``server.json`` can't be.
        HostError: There is no wheel of something for this board, or it can't be fetched.
        DeviceError: The board can't be reached, has no Python that is new enough, no room, or a disk that can't be
            written.
    """
    keys = _public_keys(wanted.trust)
    stages = Stages("look")
    with stages.at("look"):
        board = Board(transport, str(base_on(device)), find_python(transport))
        there = look(board)
        board.base = there.base
    with stages.at("choose"):
        chosen = _chosen(device, there, wanted, transport.address)
    with tempfile.TemporaryDirectory() as folder:
        wheels = (wheel_at(write_own_wheel(Path(folder))), *chosen.wheels)
        _check_room(there, wheels, transport.address)
        laid = tuple(_lay(board, there, wheel, stages) for wheel in wheels)
    with stages.at("environment"):
        changed = _switch(board, there, chosen, wheels)
    with stages.at("server"):
        unit = _serve(board, there, keys, wanted=wanted, changed=changed)
    with stages.at("facts"):
        agent = Agent(device=device.name, transport=transport, base=PurePosixPath(there.base))
        facts = agent.ask(Facts(), DeviceFacts, time_limit_s=_LIMIT_S)
    if unit:
        check_running(transport)
    return SetUp(
        device=device.name,
        base=there.base,
        python=f"{there.python} ({there.interpreter})",
        engine=chosen.engine.name,
        wheels=laid,
        unit=unit,
        notes=_notes(there, unit, facts),
        facts=facts,
        durations_ms=dict(stages.durations_ms),
    )


def _public_keys(paths: Sequence[Path]) -> tuple[PlacedFile, ...]:
    keys = [load_public_key(str(path)) for path in paths]
    return tuple(PlacedFile(path=f"trusted/{key_name(key.id)}.pub", text=key.to_text()) for key in keys)


def _chosen(device: Device, there: There, wanted: Wanted, address: str) -> Chosen:
    step = Step(address=address, doing="setting up: choosing wheels")
    engine = engine_for(device.profile, there.interpreter.machine, wanted.engine)
    stated = next((stated for stated in device.profile.engines if stated.name == engine.name), None)
    source = PipWheels() if wanted.wheels is None else FolderOfWheels(wanted.wheels)
    return choose(there, engine, stated, source, step)


def _check_room(there: There, wheels: Sequence[Wheel], address: str) -> None:
    """Unpacked beside the file that was sent, and compiled, a wheel takes about its files and itself once more."""
    missing = [wheel for wheel in wheels if wheel.sha256 not in there.wheels]
    needed_bytes = sum(_unpacked_bytes(wheel) + wheel.size_bytes for wheel in missing)
    needed_bytes -= sum(there.parts.get(wheel.sha256, 0) for wheel in missing)
    if needed_bytes > there.free_bytes:
        step = Step(address=address, doing="setting up: looking for room")
        hint = f"free some space there, or name a folder on another disk with --base; on the device: df -h {there.base}"
        reason = f"it takes {needed_bytes:,} bytes, and its disk has {there.free_bytes:,} left"
        raise step.failed(reason, hint=hint, kind=NoRoomError)


def _unpacked_bytes(wheel: Wheel) -> int:
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise HostError(
            f"cannot read the wheel {wheel.path}: {error}", hint=f"rm {wheel.path}; fetch it again"
        ) from error


def _lay(board: Board, there: There, wheel: Wheel, stages: Stages) -> Laid:
    """Send a wheel from where it ended, and have it unpacked."""
    sent: list[int] = []
    if wheel.sha256 not in there.wheels:
        what = f"{wheel.package} {wheel.version}"
        held = there.parts.get(wheel.sha256, 0)
        held = held if held <= wheel.size_bytes else 0
        _LOG.info("sending %s, %s bytes", what, f"{wheel.size_bytes - held:,}")
        with stages.at(f"send {wheel.package}"):
            board.transport.put(
                wheel.path,
                PurePosixPath(there.base, "wheels", f"{wheel.sha256}.part"),
                offset=held,
                time_limit_s=_NO_PROGRESS_S,
                sent=sent.append,
            )
        with stages.at(f"unpack {wheel.package}"):
            board.do("unpack", f"unpacking {what}", time_limit_s=_UNPACK_LIMIT_S, sha256=wheel.sha256)
    return Laid(package=wheel.package, version=wheel.version, size_bytes=wheel.size_bytes, sent_bytes=sum(sent))


def _switch(board: Board, there: There, chosen: Chosen, wheels: Sequence[Wheel]) -> bool:
    """Whether it is another environment than before."""
    hashes = [wheel.sha256 for wheel in wheels]
    content = json.dumps([_LAYOUT, there.interpreter.name, chosen.shared, sorted(hashes)])
    said = board.do(
        "switch",
        "making the environment",
        time_limit_s=_UNPACK_LIMIT_S,
        name=f"venv-{hashlib.sha256(content.encode()).hexdigest()[:16]}",
        wheels=hashes,
        modules=list(chosen.modules),
        shared=chosen.shared,
    )
    return said.flag("changed")


def _serve(board: Board, there: There, keys: tuple[PlacedFile, ...], *, wanted: Wanted, changed: bool) -> str:
    """The path of the unit that keeps the server running; empty where none does."""
    named = tuple(sorted({*there.keys, *(PurePosixPath(key.path).name for key in keys)}))
    units = units_of(there) if there.systemd and wanted.service else ()
    if units:
        refuse_other(board.transport, units[0].path, there.base)
    files = [*keys, settings_of(there, named, by_systemd=bool(units)), script_of(there), *units]
    said = board.do(
        "place", "writing its settings", time_limit_s=_LIMIT_S, files=[[f.path, f.text, f.mode] for f in files]
    )
    written = said.names("changed")
    if units:
        keep_running(board.transport, restart=changed or bool(written))
    return units[0].path if units else ""


def _notes(there: There, unit: str, facts: DeviceFacts) -> tuple[str, ...]:
    notes = []
    if not unit:
        notes.append(
            f"no systemd keeps a server running: {there.base}/serve starts one, for whatever starts it at boot"
        )
    elif there.user != "root" and not there.lingers:
        notes.append(f"its server ends when {there.user} logs out: sudo loginctl enable-linger {there.user}")
    if not facts.keys:
        notes.append("it trusts no key yet: `tinsmith devices setup --trust KEY.pub`, or flash with --allow-unsigned")
    return tuple(notes)
