"""From a whole bundle to one that may be served: verified, put into the slot that is not served, and tried there."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.answers import Bundled, InstalledBundle
from tinsmith.runtime.agent.board import BUNDLE
from tinsmith.runtime.agent.receiving import whole_path
from tinsmith.runtime.agent.state import Installed, other_slot
from tinsmith.runtime.agent.trying import Candidate
from tinsmith.runtime.bundle.minisign import key_name, load_public_key
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.trust import AllowUnsigned, TrustedKeys
from tinsmith.runtime.errors import DataError, DeviceError, OutputError, TinsmithError, UsageError, VerificationError
from tinsmith.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.requests import Install
    from tinsmith.runtime.agent.state import State
    from tinsmith.runtime.agent.trying import Tried, Try
    from tinsmith.runtime.bundle.reading import Bundle
    from tinsmith.runtime.bundle.trust import Trust
    from tinsmith.runtime.stages import Stages

__all__ = ["DECRYPTION_KEY", "Trying", "clear_bytes", "clear_parts", "install", "installed_of", "refuse_stale",
           "tried_again", "trusted_keys"]  # fmt: skip

DECRYPTION_KEY = "decryption.key"
_CHUNK_BYTES = 1 << 18
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made there


def install(board: Board, state: State, request: Install, attempt: Try, stages: Stages) -> InstalledBundle:
    """Check a bundle, and put it into the slot that is not served; what is served stays untouched.

    A bundle that fails leaves a line in the audit log.

    Args:
        board: Under its lock, and at rest.
        state: Its state.
        request: What to install.
        attempt: What tries it.
        stages: Where durations go.

    Raises:
        DeviceError: Another update is on trial.
        DataError: The bundle is not there, or is none.
        VerificationError: Nobody trusted signed it, it is stale, or its golden inputs give other outputs.
        ModelError: The engine does not run it.
        OutputError: The disk is full.
    """
    serving = state.at(board.serving())
    if serving is not None and serving.sha256 == request.sha256 and board.is_whole(serving):
        return InstalledBundle(bundle=Bundled.of(serving))
    if state.trial is not None:
        raise DeviceError(
            "another update is on trial on this device", hint="wait until it is committed, or roll it back first"
        )
    slot = other_slot(state.committed)
    try:
        return _install(board, state, slot, request, Trying(attempt, stages))
    except TinsmithError as error:
        with contextlib.suppress(OutputError):  # of a full disk the host learns by the error
            _refused(board, slot, request, error, stage=stages.now)
        raise


def _refused(board: Board, slot: str, request: Install, error: TinsmithError, *, stage: str) -> None:
    state = board.state()
    if slot not in state.slots:  # it was emptied for what is not wanted
        board.files.remove_tree(board.slot(slot))
    board.record(state, "refusal", sha256=request.sha256, stage=stage, reason=error.message[:500])


class Trying:
    """What tries a bundle, and where the durations of its stages go."""

    def __init__(self, attempt: Try, stages: Stages) -> None:
        self.attempt = attempt
        self.stages = stages


def _install(board: Board, state: State, slot: str, request: Install, trying: Trying) -> InstalledBundle:
    stages = trying.stages
    with stages.at("hash"):
        path = _source(board, state, slot, request.sha256)
    with stages.at("signature"):
        bundle = open_bundle(path, trust=_trust(board, request))
    with bundle:
        with stages.at("version"):
            refuse_stale(state, bundle, request)
        known = state.at(slot)
        if known is None or path == whole_path(board, request.sha256):
            with stages.at("unpack"):
                state, known = _fill(board, state, slot, bundle, request.sha256)
        tried = tried_again(board, bundle, known, trying, time_limit_s=request.time_limit_s)
    board.save(replace(state, slots={**state.slots, slot: known}))
    board.files.unlink(whole_path(board, request.sha256))
    return InstalledBundle(
        bundle=Bundled.of(known),
        durations_ms=dict(stages.durations_ms),
        engine=tried.engine,
        engine_version=tried.version,
        golden=tried.golden,
    )


def _source(board: Board, state: State, slot: str, sha256: str) -> Path:
    """The bundle's file, its hash checked: in the slot already, or as it was received."""
    known = state.at(slot)
    if known is not None and known.sha256 == sha256 and board.is_whole(known):
        return board.slot(slot) / BUNDLE
    whole = whole_path(board, sha256)
    if not whole.is_file():
        raise DataError(f"the bundle {sha256} is not on the device", hint="flash again: it will be sent anew")
    if sha256_of(whole) != sha256:
        board.files.unlink(whole)
        raise VerificationError("the bundle has changed on the device", hint="flash again: it will be sent anew")
    return whole


def trusted_keys(board: Board) -> TrustedKeys | None:
    """Whose bundles are taken; None where nobody is trusted.

    Raises:
        UsageError: A file in ``trusted/`` is no public key.
    """
    keys = tuple(load_public_key(str(path)) for path in sorted(board.trusted.glob("*.pub")))
    return TrustedKeys(keys=keys) if keys else None


def _trust(board: Board, request: Install) -> Trust:
    keys = trusted_keys(board)
    if keys is not None:
        return keys
    if request.allow_unsigned:
        return AllowUnsigned()
    raise VerificationError(
        "this device trusts no key",
        hint="give it yours: tinsmith devices setup --trust KEY.pub -d DEVICE; or flash with --allow-unsigned",
    )


def refuse_stale(state: State, bundle: Bundle, request: Install) -> None:
    """Hold the version against the newest that was ever committed, whether or not it was taken back since."""
    manifest = bundle.manifest
    highest = state.highest.get(manifest.name)
    if highest is None or request.allow_downgrade or manifest.version > highest.version:
        return
    if manifest.version < highest.version:
        raise VerificationError(
            f"the bundle is version {manifest.version} of {manifest.name}, "
            f"and this device has had version {highest.version}",
            hint="make a newer one: tinsmith bundle ... --version N; or go back on purpose with --allow-downgrade",
        )
    if request.sha256 != highest.sha256:
        raise VerificationError(
            f"this device has had another bundle as version {manifest.version} of {manifest.name}",
            hint="make a newer one: tinsmith bundle ... --version N; or take it all the same with --allow-downgrade",
        )


def _fill(board: Board, state: State, slot: str, bundle: Bundle, sha256: str) -> tuple[State, Installed]:
    """Empty the slot and fill it anew; from the first change on, the state says that nothing lies there."""
    state = _without(board, state, slot)
    home = board.slot(slot)
    board.files.remove_tree(home)
    board.files.check_room(board.slots, clear_bytes(bundle))
    board.files.make_folder(home)
    if not board.files.link(bundle.path, home / BUNDLE):
        board.files.create(home / BUNDLE, _chunks(bundle.path))
    for part in clear_parts(bundle):
        file = home / part
        board.files.make_folder(file.parent)
        board.files.create(file, bundle.chunks(part))
        board.files.sync_folder(file.parent)
    board.files.sync_folder(home)
    board.files.sync_folder(board.slots)
    return state, installed_of(slot, bundle, sha256)


def _without(board: Board, state: State, slot: str) -> State:
    if slot not in state.slots:
        return state
    slots = {name: found for name, found in state.slots.items() if name != slot}
    return board.save(replace(state, slots=slots, back=None, rolled_back=None))


def clear_bytes(bundle: Bundle) -> int:
    """How much ``clear_parts`` hold."""
    return sum(bundle.manifest.artifact_parts[part][1] for part in clear_parts(bundle))


def clear_parts(bundle: Bundle) -> list[str]:
    """The artifact's files; none where it is encrypted: on the disk it stays so."""
    return [] if bundle.manifest.encryption is not None else list(bundle.manifest.artifact_parts)


def installed_of(slot: str, bundle: Bundle, sha256: str) -> Installed:
    """What the state says of a bundle in a slot."""
    manifest = bundle.manifest
    clear = clear_parts(bundle)
    return Installed(
        slot=slot,
        sha256=sha256,
        name=manifest.name,
        version=manifest.version,
        size_bytes=bundle.path.stat().st_size,
        signed_by="" if bundle.signed_by is None else key_name(bundle.signed_by.id),
        artifact=manifest.artifact_part if clear else "",
        files={BUNDLE: sha256, **{part: manifest.artifact_parts[part][0] for part in clear}},
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from iter(functools.partial(stream.read, _CHUNK_BYTES), b"")


def tried_again(board: Board, bundle: Bundle, known: Installed, trying: Trying, *, time_limit_s: float) -> Tried:
    """Try the bundle that lies in a slot; raises as ``install``."""
    with _artifact(board, bundle, known) as path:
        candidate = Candidate(
            path=path,
            settings=bundle.manifest.settings,
            golden=bundle.golden(),
            time_limit_s=time_limit_s,
        )
        return trying.attempt(candidate, trying.stages)


@contextlib.contextmanager
def _artifact(board: Board, bundle: Bundle, known: Installed) -> Iterator[Path]:
    """The artifact in the clear: in its slot, or for an encrypted one in memory, as long as it is tried."""
    if known.artifact:
        yield board.slot(known.slot) / known.artifact
        return
    from tinsmith.runtime.bundle.encryption import load_encryption_key
    from tinsmith.runtime.bundle.unpacking import unpack

    path = board.base / DECRYPTION_KEY
    if not path.is_file():
        raise UsageError(
            "the bundle is encrypted, and the device has no key for it", hint=f"put the key there as {path}"
        )
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield unpack(bundle, Path(folder), key=load_encryption_key(path))
