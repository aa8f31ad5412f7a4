"""Phones, which have no Python: this machine answers for them as the agent would, and a shell script does the work.

The slots, the state, the audit log and the rules are the agent's (``tinsmith.runtime.agent``). What a phone can't do is
done here before: signature, version, and what lies where in a bundle. The phone itself hashes what has come, lays it
into the slot that is not served, runs it by a program of the user's, and switches. Nothing there runs by itself:
an update that nobody has committed is taken back when the phone is asked the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar, TypeVar

from tinsmith.devices.flashing.phone_runner import BENCHMARK_MODEL, Checked, Runner
from tinsmith.devices.flashing.phone_script import PhoneScript
from tinsmith.devices.flashing.phone_slots import PhoneSlots
from tinsmith.runtime.agent.answers import Bundled, InstalledBundle, MissingBytes, Received, answer_json
from tinsmith.runtime.agent.inquiry import status_of
from tinsmith.runtime.agent.installing import clear_parts, installed_of, refuse_stale
from tinsmith.runtime.agent.recovery import settle
from tinsmith.runtime.agent.requests import (
    Activate,
    Boot,
    Commit,
    Health,
    Install,
    Missing,
    Receive,
    Rollback,
    Status,
)
from tinsmith.runtime.agent.state import other_slot
from tinsmith.runtime.agent.switching import activate, commit, not_served, rollback
from tinsmith.runtime.bundle.container import read_entries
from tinsmith.runtime.bundle.minisign import load_public_key
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned, TrustedKeys
from tinsmith.runtime.errors import DeviceError, TinsmithError, UsageError, VerificationError
from tinsmith.runtime.fields import fields_of
from tinsmith.runtime.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tinsmith.devices.asking import Readable
    from tinsmith.devices.flashing.phone_script import Seen
    from tinsmith.devices.flashing.phone_slots import Part
    from tinsmith.devices.transports.protocol import Transport
    from tinsmith.runtime.agent.answers import Answer
    from tinsmith.runtime.agent.requests import Request
    from tinsmith.runtime.agent.state import Installed, State
    from tinsmith.runtime.bundle.reading import Bundle
    from tinsmith.runtime.bundle.trust import Trust
    from tinsmith.runtime.fields import Fields

__all__ = ["PhoneAgent"]

_A = TypeVar("_A", bound="Readable")
_NOTHING = hashlib.sha256().hexdigest()
_CHANGING = (Receive, Install, Activate, Commit, Rollback, Boot)


class PhoneAgent:
    """Answers for one phone; see ``Asking``.

    Args:
        device: Its name, for messages.
        transport: How it is reached.
        base: The folder there that everything lies in, from ``/`` on.
        bundle: Here, what may be installed; None where nothing is.
        trust: Files with public keys whose bundles it takes.
        runner: The program there that runs a model; empty for ``benchmark_model`` in the base folder, where that is.
    """

    between: ClassVar[str] = "link"
    unpacks: ClassVar[bool] = False

    def __init__(
        self,
        *,
        device: str,
        transport: Transport,
        base: PurePosixPath,
        bundle: Path | None = None,
        trust: tuple[str, ...] = (),
        runner: str = "",
    ) -> None:
        self.base = base
        self._device = device
        self._address = transport.address
        self._bundle = bundle
        self._trust = trust
        self._named = bool(runner)
        self._script = PhoneScript(transport, base)
        self._runner = Runner(path=PurePosixPath(runner) if runner else base / BENCHMARK_MODEL, script=self._script)

    def ask(self, request: Request, answer: type[_A], *, time_limit_s: float = 60.0) -> _A:
        """See ``Asking``."""
        return answer.read(self.ask_all((request,), time_limit_s=time_limit_s)[0])

    def ask_all(self, requests: Sequence[Request], *, time_limit_s: float = 60.0) -> tuple[Fields, ...]:
        """See ``Asking``; the time limit is for each step that reads or writes whole bundles."""
        stages = Stages("request")
        with self._explained(stages):
            slots = PhoneSlots(self._script, self._look(time_limit_s), time_limit_s=time_limit_s)
            return tuple(self._fields(self._answer(slots, request, stages)) for request in requests)

    def foresee(self, request: Install) -> None:
        """See that it is signed, no older than what the phone has had, and can be run as the inventory says."""
        stages = Stages("signature")
        with self._explained(stages):
            slots = PhoneSlots(self._script, self._look(60.0), time_limit_s=60.0)
            with self._opened(request) as bundle:
                with stages.at("version"):
                    refuse_stale(slots.state(), bundle, request)
                with stages.at("runner"):
                    self._can_run(slots, bundle)

    def if_lost(self, grace_s: float) -> str:
        """It has no clock of ours."""
        del grace_s
        return "nothing on a phone goes back by itself: run the same command again; or: " + (
            f"tinsmith rollback -d {self._device}"
        )

    def _look(self, time_limit_s: float) -> Seen:
        return self._script.look(self._runner.path, time_limit_s=time_limit_s)

    def _fields(self, answer: Answer) -> Fields:
        return fields_of(json.dumps(answer_json(answer)).encode(), of=f"the answer of {self._device}")

    def _answer(self, slots: PhoneSlots, request: Request, stages: Stages) -> Answer:
        if isinstance(request, Missing):
            return self._missing(slots, request)
        if isinstance(request, Health):
            return self._health(slots, request, stages)
        if slots.seen.busy and isinstance(request, Status):
            return status_of(slots, slots.state(), busy=True)
        if not isinstance(request, (Status, *_CHANGING)):
            raise UsageError(f"a phone without Python does not answer {request.name}", hint="it has no agent")
        with stages.at("recovery"):
            state, resolved = settle(slots)
        with stages.at(request.name):
            return self._changed(slots, state, request, stages, resolved)

    def _changed(self, slots: PhoneSlots, state: State, request: Request, stages: Stages, resolved: str) -> Answer:
        if isinstance(request, Receive):
            slots.receive(request.sha256)
            return Received(received=True)
        if isinstance(request, Install):
            return self._install(slots, state, request, stages)
        if isinstance(request, Activate):
            return activate(slots, state, request)
        if isinstance(request, Commit):
            return commit(slots, state, request)
        if isinstance(request, Rollback):
            return rollback(slots, state, request)
        self._script.run("sweep", doing="taking away what uploads have left", time_limit_s=60.0)
        return status_of(slots, state, resolved=resolved)

    def _missing(self, slots: PhoneSlots, request: Missing) -> MissingBytes:
        """What is there of a bundle; patches can't be used, so there is nothing to make them against."""
        state = slots.state()
        alike = [slot for slot, found in state.slots.items() if found.sha256 == request.sha256]
        whole = [slot for slot in alike if slots.is_whole(state.slots[slot])]
        paths = (f"parts/{request.sha256}", f"parts/{request.part}.part")
        parts, part = self._script.hashes(paths, time_limit_s=60.0)
        there = "slot" if whole else "parts" if parts.sha256 == request.sha256 else ""
        begun = part.sha256 and part.size_bytes <= request.part_bytes
        return MissingBytes(
            there="active" if slots.serving() in whole else there,
            part_bytes=part.size_bytes if begun else 0,
            part_prefix=part.sha256 if begun else _NOTHING,
            bases=(),
        )

    def _install(self, slots: PhoneSlots, state: State, request: Install, stages: Stages) -> InstalledBundle:
        """As the agent's ``install``: what is served stays untouched, and what fails leaves a line in the audit log."""
        serving = state.at(slots.serving())
        if serving is not None and serving.sha256 == request.sha256 and slots.is_whole(serving):
            return InstalledBundle(bundle=Bundled.of(serving))
        if state.trial is not None:
            raise DeviceError(
                "another update is on trial on this device", hint="wait until it is committed, or roll it back first"
            )
        slot = other_slot(state.committed)
        try:
            return self._checked(slots, state, slot, request, stages)
        except TinsmithError as error:
            with contextlib.suppress(TinsmithError):  # what failed is the news
                _refused(slots, slot, request, error, stage=stages.now)
            raise

    def _checked(self, slots: PhoneSlots, state: State, slot: str, request: Install, stages: Stages) -> InstalledBundle:
        with self._opened(request) as bundle:
            with stages.at("version"):
                refuse_stale(state, bundle, request)
            known = replace(installed_of(slot, bundle, request.sha256), verified=self._can_run(slots, bundle))
            before = state.at(slot)
            if before is None or before.sha256 != request.sha256 or not slots.is_whole(before):
                with stages.at("unpack"):
                    state = _fill(slots, state, slot, bundle, request.sha256)
        checked = self._try(slots, known, request.time_limit_s, stages)
        slots.save(replace(state, slots={**state.slots, slot: known}))
        slots.change("forget", request.sha256)
        return _installed(known, checked, stages)

    def _health(self, slots: PhoneSlots, request: Health, stages: Stages) -> InstalledBundle:
        """As the agent's ``check_health``."""
        state = slots.state()
        active = state.at(slots.serving())
        if request.sha256 and (active is None or active.sha256 != request.sha256):
            raise not_served(state, request.sha256)
        if active is None:
            raise UsageError("the device serves nothing", hint="flash a bundle first")
        with stages.at("hash"):
            if not slots.is_whole(active):
                raise VerificationError(
                    f"version {active.version} in slot {active.slot} has changed since it was installed",
                    hint="tinsmith rollback, or flash it again",
                )
        return _installed(active, self._try(slots, active, request.time_limit_s, stages), stages)

    def _can_run(self, slots: PhoneSlots, bundle: Bundle) -> bool:
        """Whether it will be run there; an encrypted artifact lies nowhere in the clear.

        Raises:
            DeviceError: The program that the inventory names is not there.
        """
        if self._named and not slots.seen.has_runner:
            path = self._runner.path
            raise DeviceError(
                f"{path}, which the inventory names as its runner, is not there or may not be run",
                hint=f"adb push {path.name} {path} && adb shell chmod +x {path}",
            )
        return slots.seen.has_runner and bool(clear_parts(bundle))

    def _try(self, slots: PhoneSlots, known: Installed, time_limit_s: float, stages: Stages) -> Checked | None:
        if not slots.seen.has_runner or not known.artifact:
            return None
        with stages.at("run"):
            artifact = self.base / "slots" / known.slot / known.artifact
            checked = self._runner.check(artifact, time_limit_s=time_limit_s)
        slots.checked = f"{checked.program}: {checked.said}"
        return checked

    @contextlib.contextmanager
    def _opened(self, request: Install) -> Iterator[Bundle]:
        if self._bundle is None:
            raise UsageError(f"the bundle {request.sha256} is not at hand here", hint="flash it: tinsmith flash BUNDLE")
        with open_bundle(self._bundle, trust=self._trusted(request)) as bundle:
            yield bundle

    def _trusted(self, request: Install) -> Trust:
        if self._trust:
            return TrustedKeys(keys=tuple(load_public_key(path) for path in self._trust))
        if request.allow_unsigned:
            return AllowUnsigned()
        raise VerificationError(
            "the inventory names no key whose bundles this phone takes",
            hint=f'write trust = ["KEY.pub"] into [devices.{self._device}]; or flash with --allow-unsigned',
        )

    @contextlib.contextmanager
    def _explained(self, stages: Stages) -> Iterator[None]:
        """Errors name the device and the stage, as those that come from an agent do."""
        try:
            yield
        except TinsmithError as error:
            if error.message.startswith(f"{self._address}: "):  # the link's own
                raise
            message = f"{self._device}: {stages.now}: {error.message}"
            raise type(error).revive(message, error.hint) from error


def _fill(slots: PhoneSlots, state: State, slot: str, bundle: Bundle, sha256: str) -> State:
    """From the first change on, the state says that nothing lies in the slot."""
    if slot in state.slots:
        left = {name: found for name, found in state.slots.items() if name != slot}
        state = slots.save(replace(state, slots=left, back=None, rolled_back=None))
    slots.fill(slot, sha256, _parts(bundle))
    return state


def _parts(bundle: Bundle) -> tuple[Part, ...]:
    """Where the artifact's files lie in the bundle, whose parts are stored as they are."""
    with bundle.path.open("rb") as stream:
        entries = {entry.name: entry for entry in read_entries(stream)}
    parts = [(entries[name], bundle.manifest.artifact_parts[name][0]) for name in clear_parts(bundle)]
    return tuple((entry.name, entry.offset, entry.size_bytes, sha256) for entry, sha256 in parts)


def _refused(slots: PhoneSlots, slot: str, request: Install, error: TinsmithError, *, stage: str) -> None:
    state = slots.state()
    if slot not in state.slots:  # it was emptied for what is not wanted
        slots.change("empty", slot)
    slots.record(state, "refusal", sha256=request.sha256, stage=stage, reason=error.message[:500])


def _installed(known: Installed, checked: Checked | None, stages: Stages) -> InstalledBundle:
    return InstalledBundle(
        bundle=Bundled.of(known),
        durations_ms=dict(stages.durations_ms),
        engine="" if checked is None else checked.program,
        golden="" if checked is None else checked.said,
    )
