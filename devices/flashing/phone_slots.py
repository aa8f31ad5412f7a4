"""The slots of a phone: what the rules of an update change there is done by one step of the script each.

A phone has no agent, so this machine decides by the agent's own rules. Each step says what it takes to be there, and
the phone refuses it where somebody else has changed that; a cut between two steps is what a power cut is to an agent.
"""

from __future__ import annotations

import datetime
import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tinsmith.runtime.agent.slots import Slots
from tinsmith.runtime.agent.state import SLOTS, State, read_state, state_bytes
from tinsmith.runtime.audit import line_of, newest_of
from tinsmith.runtime.errors import DataError, NoRoomError, VerificationError

if TYPE_CHECKING:
    from tinsmith.devices.flashing.phone_script import PhoneScript, Seen
    from tinsmith.runtime.agent.clock import Moment
    from tinsmith.runtime.agent.state import Entry, Installed
    from tinsmith.runtime.audit import Newest

__all__ = ["Part", "PhoneSlots"]

Part = tuple[str, int, int, str]
"""A file of a bundle that is laid beside it: its path, where it begins in the bundle, its size in bytes, its sha256."""

_SHORT_S = 60.0
_UNVERIFIED = "unverified on device"


class PhoneSlots(Slots):
    """What lies on a phone, and what is done to it.

    Args:
        script: Of the phone.
        seen: What it has said.
        time_limit_s: For a step that reads or writes whole bundles.

    Attributes:
        seen: What is there now, as far as this machine knows.
        checked: What came of running the bundle, for the audit log.
    """

    def __init__(self, script: PhoneScript, seen: Seen, *, time_limit_s: float) -> None:
        self.seen = seen
        self.checked = _UNVERIFIED
        self._script = script
        self._time_limit_s = time_limit_s
        self._looked_s = time.monotonic()
        self._whole: dict[str, bool] = {}
        self.now = self._now

    def _now(self) -> Moment:
        moment, gone_s = self.seen.moment, time.monotonic() - self._looked_s
        return replace(moment, wall_s=moment.wall_s + gone_s, uptime_s=moment.uptime_s + gone_s)

    def serving(self) -> str | None:
        """See ``Slots``."""
        folder, _, name = self.seen.link.partition("/")
        return name if folder == "slots" and name in SLOTS else None

    def serve(self, slot: str | None) -> None:
        """See ``Slots``."""
        link = "none" if slot is None else f"slots/{slot}"
        self.change(*(("unserve",) if slot is None else ("serve", link)))
        self.seen = replace(self.seen, link=link)

    def state(self) -> State:
        """See ``Slots``."""
        if self.seen.state_sha256 == "none":
            return State()
        try:
            return read_state(self.seen.state, of="state.json of the phone")
        except DataError as error:
            raise VerificationError(
                error.message, hint="what is active stays so; move that file away and flash again"
            ) from error

    def save(self, state: State) -> State:
        """See ``Slots``."""
        content = state_bytes(state)
        sha256 = hashlib.sha256(content).hexdigest()
        self.change("save", sha256, stdin=content)
        self.seen = replace(self.seen, state=content, state_sha256=sha256)
        return state

    def newest_line(self) -> Newest:
        """See ``Slots``."""
        return self.seen.newest

    def append(self, entry: Entry) -> None:
        """See ``Slots``; a line that a cut has torn is taken out first, and a line says so."""
        if torn_bytes := self.seen.torn_bytes:
            whole_bytes = self.seen.audit_bytes - torn_bytes
            self.change("mend", str(whole_bytes))
            self.seen = replace(self.seen, audit_bytes=whole_bytes, torn_bytes=0)
            self._note("repair", {"reason": f"a torn line of {torn_bytes} bytes was taken out"})
        facts = dict(entry.facts)
        if entry.event in ("trial", "commit"):
            facts["checked"] = self.checked
        self._note(entry.event, {"serial": str(entry.serial), **facts})

    def _note(self, event: str, facts: dict[str, str]) -> None:
        at = datetime.datetime.fromtimestamp(self._now().wall_s, tz=datetime.timezone.utc)
        line = line_of(at, event, facts, previous=self.seen.newest.head)
        self.change("note", line.decode())
        self.seen = replace(self.seen, newest=newest_of(line), audit_bytes=self.seen.audit_bytes + len(line) + 1)

    def is_whole(self, installed: Installed) -> bool:
        """See ``Slots``; hashed once, until the slot is filled anew."""
        slot = installed.slot
        if slot not in self._whole:
            paths = tuple(f"slots/{slot}/{path}" for path in installed.files)
            found = self._script.hashes(paths, time_limit_s=self._time_limit_s)
            self._whole[slot] = [one.sha256 for one in found] == list(installed.files.values())
        return self._whole[slot]

    def receive(self, sha256: str) -> None:
        """What has come of a bundle is taken for the whole of it, where its hash says so.

        Raises:
            DataError: Nothing has come.
            VerificationError: It is something else, and was taken away.
        """
        self.change("receive", sha256, time_limit_s=self._time_limit_s)

    def fill(self, slot: str, sha256: str, parts: tuple[Part, ...]) -> None:
        """Empty a slot that the state says nothing of, and lay a bundle there, and beside it what an engine loads.

        Raises:
            NoRoomError: The disk has no room for that.
            DataError: The bundle is not there.
            VerificationError: It has changed.
        """
        needed_bytes = sum(size_bytes for _, _, size_bytes, _ in parts)
        if self.seen.free_bytes < needed_bytes:
            said = f"it takes {needed_bytes:,} bytes, and {self.seen.free_bytes:,} are free"
            raise NoRoomError(said, hint="free some space on the device, and flash again")
        self._whole.pop(slot, None)
        # tail counts from 1
        said_parts = [word for path, at, size, sha in parts for word in (path, str(at + 1), str(size), sha)]
        self.change("fill", slot, sha256, *said_parts, time_limit_s=self._time_limit_s)

    def change(self, *step: str, stdin: bytes = b"", time_limit_s: float = _SHORT_S) -> None:
        """Do a step of the script, unless somebody else has changed what this machine takes to be there."""
        doing = f"changing what it serves ({step[0]})"
        self._script.run("change", self.seen.mark, *step, stdin=stdin, doing=doing, time_limit_s=time_limit_s)
