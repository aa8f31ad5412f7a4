"""What the agent knows of its slots: ``state.json``, written whole by each step of an update."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.fields import Fields, fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SLOTS", "Entry", "Highest", "Installed", "State", "Trial", "other_slot", "read_state", "state_bytes"]

SLOTS = ("a", "b")
_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A bundle that has passed its checks and lies in a slot.

    Attributes:
        slot: ``a`` or ``b``.
        sha256: Of the bundle's file.
        name: Of the bundle.
        version: Of the bundle.
        size_bytes: Of the bundle's file.
        signed_by: The key's id; empty where nobody signed it.
        artifact: The artifact's path in the slot; empty where it is encrypted, and lies in the bundle only.
        files: Sha256 of each file in the slot, by its path there.
        verified: Whether it was run on the device before it was served; a phone without a program that runs it can't.
    """

    slot: str
    sha256: str
    name: str
    version: int
    size_bytes: int
    signed_by: str
    artifact: str
    files: Mapping[str, str]
    verified: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An update that may still be taken back.

    Attributes:
        slot: That is tried.
        until_wall_s: When it ends, for people, since 1970.
        until_uptime_s: When it ends, which counts: a wall clock that is set in the meantime changes nothing.
        boot_id: Of the boot in which it began; after another one it is over.
    """

    slot: str
    until_wall_s: float
    until_uptime_s: float
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Highest:
    """The newest version of a name that was ever committed, and the bundle that it was."""

    version: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line that the audit log must have; appended by whoever finds that it has not.

    Attributes:
        serial: Counts the lines of this board.
        event: As the audit log knows it.
        facts: What it was about.
    """

    serial: int
    event: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is where. Which slot is served is not said here: the link ``current`` says it.

    Attributes:
        committed: The slot whose update was confirmed; None before the first.
        back: The slot that a rollback goes to once nothing is on trial; None where there is none.
        trial: The update that is tried; None where none is. Until the link leads to its slot, it has not begun.
        rolled_back: What the last rollback took back, until the next update; it makes a rollback asked twice one.
        slots: What lies in each slot; a slot without an entry may hold anything.
        highest: By name of the bundle.
        entries: The last lines of the audit log; none before the first.
    """

    committed: str | None = None
    back: str | None = None
    trial: Trial | None = None
    rolled_back: Installed | None = None
    slots: Mapping[str, Installed] = field(default_factory=dict)
    highest: Mapping[str, Highest] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()

    def at(self, slot: str | None) -> Installed | None:
        """What lies in a slot."""
        return None if slot is None else self.slots.get(slot)


def other_slot(slot: str | None) -> str:
    """Where the next update goes when one slot is taken: b beside a, a beside b and beside none."""
    return "b" if slot == "a" else "a"


def state_bytes(state: State) -> bytes:
    """The content of ``state.json``."""
    return (json.dumps({"schema": _SCHEMA, **asdict(state)}, indent=1, sort_keys=True) + "\n").encode()


def read_state(content: bytes, *, of: str) -> State:
    """Read what ``state_bytes`` wrote.

    Raises:
        DataError: It is damaged, or of a newer schema.
    """
    fields = fields_of(content, of=of)
    fields.schema(_SCHEMA)
    state = State(
        committed=_slot(fields, "committed"),
        back=_slot(fields, "back"),
        trial=None if (trial := fields.maybe("trial")) is None else _trial(trial),
        rolled_back=None if (before := fields.maybe("rolled_back")) is None else _installed(before),
        slots={slot: _installed(found) for slot, found in fields.table("slots").each(Fields.table).items()},
        highest={name: _highest(found) for name, found in fields.table("highest").each(Fields.table).items()},
        entries=tuple(_entry(entry) for entry in fields.many("entries")),
    )
    fields.end()
    _check(state, fields)
    return state


def _check(state: State, fields: Fields) -> None:
    if any(slot not in SLOTS or found.slot != slot for slot, found in state.slots.items()):
        raise fields.wrong("names a slot that there is not")
    named = (state.committed, state.back, state.trial and state.trial.slot)
    if any(slot is not None and slot not in state.slots for slot in named):
        raise fields.wrong("counts on a slot of which it says nothing")


def _slot(fields: Fields, key: str) -> str | None:
    return None if fields.null(key) else fields.one_of(key, SLOTS)


def _trial(fields: Fields) -> Trial:
    trial = Trial(
        slot=fields.one_of("slot", SLOTS),
        until_wall_s=fields.finite("until_wall_s"),
        until_uptime_s=fields.finite("until_uptime_s"),
        boot_id=fields.word("boot_id"),
    )
    fields.end()
    return trial


def _installed(fields: Fields) -> Installed:
    installed = Installed(
        slot=fields.one_of("slot", SLOTS),
        sha256=fields.sha256("sha256"),
        name=fields.text("name"),
        version=fields.count("version"),
        size_bytes=fields.count("size_bytes"),
        signed_by=fields.word("signed_by"),
        artifact=fields.word("artifact"),
        files=fields.table("files").each(Fields.sha256),
        verified=fields.flag("verified") if "verified" in fields else True,  # older agents do not say
    )
    fields.end()
    return installed


def _highest(fields: Fields) -> Highest:
    highest = Highest(version=fields.count("version"), sha256=fields.sha256("sha256"))
    fields.end()
    return highest


def _entry(fields: Fields) -> Entry:
    facts: dict[str, Any] = fields.table("facts").each(Fields.word)
    entry = Entry(serial=fields.count("serial"), event=fields.text("event"), facts=facts)
    fields.end()
    return entry
