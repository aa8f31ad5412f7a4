"""From a bundle here to the same bytes on a device, by the way that sends least.

A patch against what the device has comes first. Where there is none, or it saves little, packing the bundle takes a
while: so it is sent as it is in the meantime, and when the packed file is done and smaller than what is still to go,
that is sent instead. On a fast link the bundle is there before it is packed; on a slow one hardly more than the packed
bytes go over it.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tinsmith.devices.flashing.deployment import Sent
from tinsmith.devices.flashing.store import Parcel
from tinsmith.runtime.agent.answers import MissingBytes
from tinsmith.runtime.agent.requests import Missing
from tinsmith.runtime.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from tinsmith.devices.asking import Asking
    from tinsmith.devices.flashing.store import Store
    from tinsmith.devices.transports.protocol import Putting

__all__ = ["Delivered", "Progress", "Sender", "prefix_of"]

_NO_PROGRESS_S = 30.0
_CHUNK_BYTES = 1 << 20
# A patch of at most this share of the bundle is sent without finding out how small the packed bundle is.
_GOOD_SHARE = 0.25
# Above this one, it is not worth that either: the bundle is sent as it is while it is packed.
_USELESS_SHARE = 0.9


class Progress(Protocol):
    """Told how an upload goes on."""

    def __call__(self, done_bytes: int, size_bytes: int) -> None:
        """So many bytes of so many are there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A parcel that lies on the device.

    Attributes:
        parcel: Which one.
        sent: What went over the link for it.
    """

    parcel: Parcel
    sent: Sent


class _Switched(Exception):  # noqa: N818 - no error: the rest is better sent in another form
    """The packed bundle is done, and smaller than what is still to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Sends one bundle to one device.

    Attributes:
        agent: Who answers for the device.
        putting: The way to it.
        store: Of this machine.
        bundle: What is sent.
        sha256: Of its file.
        progress: Told how it goes on.
    """

    agent: Asking
    putting: Putting
    store: Store
    bundle: Path
    sha256: str
    progress: Progress

    def whole(self) -> Parcel:
        """The bundle as it is."""
        return Parcel(path=self.bundle, sha256=self.sha256, size_bytes=self.bundle.stat().st_size, form="whole")

    def missing(self, parcel: Parcel) -> Missing:
        """What asks the device how much of a parcel is there."""
        size_bytes = self.bundle.stat().st_size
        return Missing(sha256=self.sha256, size_bytes=size_bytes, part=parcel.sha256, part_bytes=parcel.size_bytes)

    def deliver(self, known: MissingBytes, *, patches: bool = True) -> Delivered:
        """Bring a parcel to the device; goes on where an upload before was cut off.

        Args:
            known: What the device has, and how much of the bundle as it is.
            patches: Whether patches may be used.

        Raises:
            DeviceError: The link was lost, or the device has no room.
            OutputError: This machine has no room for the parcel.
        """
        if not self.agent.unpacks:
            return self._put(self.whole(), self._held(self.whole(), known))
        patch = self._patch(known) if patches else None
        if patch is not None:
            return self._put(patch, self._begun(patch))
        held = self._held(self.whole(), known)
        if self.store.has_packed(self.sha256):
            packed = self.store.packed(self.bundle, self.sha256)
            begun = self._begun(packed)
            whole = self.whole()
            less = packed.size_bytes - begun < whole.size_bytes - held
            return self._put(packed, begun) if less else self._put(whole, held)
        return self._whole_or_packed(held)

    def expect(self, known: MissingBytes) -> Sent:
        """What ``deliver`` would send, the bundle as it is where it is not packed yet; nothing is sent."""
        parcel = self._patch(known) if self.agent.unpacks else None
        if parcel is None and self.agent.unpacks and self.store.has_packed(self.sha256):
            parcel = self.store.packed(self.bundle, self.sha256)
        held = 0 if parcel is None else self._begun(parcel)
        whole, whole_held = self.whole(), self._held(self.whole(), known)
        if parcel is None or (parcel.form == "lzma" and parcel.size_bytes - held >= whole.size_bytes - whole_held):
            parcel, held = whole, whole_held
        return Sent(form=parcel.form, size_bytes=parcel.size_bytes - held, resumed_bytes=held)

    def _patch(self, known: MissingBytes) -> Parcel | None:
        """The smallest patch, where packing the bundle would not do better."""
        made = (self.store.patch(base.sha256, self.bundle, self.sha256) for base in known.bases)
        found = [patch for patch in made if patch is not None]
        if not found:
            return None
        best = min(found, key=lambda patch: patch.size_bytes)
        whole_bytes = self.whole().size_bytes
        if best.size_bytes <= _GOOD_SHARE * whole_bytes:
            return best
        if best.size_bytes > _USELESS_SHARE * whole_bytes:  # the two have nothing in common
            return None
        return best if best.size_bytes < self.store.packed(self.bundle, self.sha256).size_bytes else None

    def _whole_or_packed(self, held: int) -> Delivered:
        packing = _Packing(self.store, self.bundle, self.sha256)
        packing.start()
        whole = self.whole()
        gone = held

        def sent(count: int) -> None:
            nonlocal gone
            gone += count
            self.progress(gone, whole.size_bytes)
            if packing.parcel is not None and packing.parcel.size_bytes < whole.size_bytes - gone:
                raise _Switched

        try:
            self._transfer(whole, held, sent)
        except _Switched:
            packed = packing.parcel or whole  # what has switched is there
            rest = self._put(packed, 0).sent.size_bytes
            said = Sent(form=packed.form, size_bytes=gone - held + rest, resumed_bytes=held)
            return Delivered(parcel=packed, sent=said)
        return Delivered(parcel=whole, sent=Sent(form="whole", size_bytes=gone - held, resumed_bytes=held))

    def _put(self, parcel: Parcel, held: int) -> Delivered:
        gone = held

        def sent(count: int) -> None:
            nonlocal gone
            gone += count
            self.progress(gone, parcel.size_bytes)

        self._transfer(parcel, held, sent)
        said = Sent(form=parcel.form, size_bytes=gone - held, resumed_bytes=held)
        return Delivered(parcel=parcel, sent=said)

    def _transfer(self, parcel: Parcel, held: int, sent: _Counting) -> None:
        if held < parcel.size_bytes:
            place = _place(self.agent.base, parcel)
            self.putting.put(parcel.path, place, offset=held, time_limit_s=_NO_PROGRESS_S, sent=sent)

    def _begun(self, parcel: Parcel) -> int:
        """How much of a parcel is there from an upload before."""
        return self._held(parcel, self.agent.ask(self.missing(parcel), MissingBytes))

    def _held(self, parcel: Parcel, known: MissingBytes) -> int:
        """What may be gone on from: as much as is there, where it is the beginning of this very file."""
        if 0 < known.part_bytes <= parcel.size_bytes and prefix_of(parcel.path, known.part_bytes) == known.part_prefix:
            return known.part_bytes
        return 0


class _Counting(Protocol):
    """Told how many bytes have gone; what it raises ends the transfer."""

    def __call__(self, count: int, /) -> None: ...


class _Packing(threading.Thread):
    """Packs a bundle beside the upload."""

    def __init__(self, store: Store, bundle: Path, sha256: str) -> None:
        super().__init__(daemon=True)
        self.parcel: Parcel | None = None
        self._store, self._bundle, self._sha256 = store, bundle, sha256

    def run(self) -> None:
        """Where this machine has no room for it, the bundle goes as it is."""
        with contextlib.suppress(OutputError):
            self.parcel = self._store.packed(self._bundle, self._sha256)


def _place(base: PurePosixPath, parcel: Parcel) -> PurePosixPath:
    """Where the agent looks for it."""
    return base / "parts" / f"{parcel.sha256}.part"


def prefix_of(path: Path, count: int) -> str:
    """The sha256 of the first bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while count and (chunk := stream.read(min(count, _CHUNK_BYTES))):
            digest.update(chunk)
            count -= len(chunk)
    return digest.hexdigest()
