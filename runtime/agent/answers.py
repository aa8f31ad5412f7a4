"""What the agent answers: ``to_json`` gives the document, and hosts read it with ``read``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from tinsmith.runtime.agent.state import Installed

__all__ = [
    "NOT_RUNNING",
    "Activated",
    "Answer",
    "Base",
    "Bundled",
    "DeviceFacts",
    "DeviceStatus",
    "InstalledBundle",
    "MissingBytes",
    "Received",
    "RolledBack",
]

NOT_RUNNING = "no server is running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """A bundle on the device.

    Attributes:
        slot: ``a`` or ``b``.
        sha256: Of the bundle's file.
        name: Of the bundle.
        version: Of the bundle.
        size_bytes: Of the bundle's file.
        signed_by: The key's id; empty where nobody signed it.
        artifact: Path of the artifact in the slot's folder; empty where it is encrypted.
        verified: Whether it was run on the device before it was served.
    """

    slot: str
    sha256: str
    name: str
    version: int
    size_bytes: int
    signed_by: str
    artifact: str
    verified: bool = True

    @classmethod
    def of(cls, installed: Installed) -> Self:
        """From the state."""
        return cls(
            slot=installed.slot,
            sha256=installed.sha256,
            name=installed.name,
            version=installed.version,
            size_bytes=installed.size_bytes,
            signed_by=installed.signed_by,
            artifact=installed.artifact,
            verified=installed.verified,
        )

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        bundled = cls(
            slot=fields.one_of("slot", ("a", "b")),
            sha256=fields.sha256("sha256"),
            name=fields.text("name"),
            version=fields.count("version"),
            size_bytes=fields.count("size_bytes"),
            signed_by=fields.word("signed_by"),
            artifact=fields.word("artifact"),
            verified=fields.flag("verified") if "verified" in fields else True,  # older agents do not say
        )
        fields.end()
        return bundled


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """What a device serves.

    Attributes:
        active: What is served; None where nothing is.
        previous: What a rollback would go to; None where there is nothing.
        on_trial: Whether what is active may still be taken back by itself.
        trial_until_s: When, since 1970 by the device's clock; None where nothing is on trial.
        highest: By name, the newest version that was ever committed.
        audit_head: Sha256 of the last line of the audit log; keep it to notice lines that were cut off.
        resolved: What this request has brought to an end, for people; empty where nothing was left.
        busy: Whether somebody is updating it; then nothing was brought to an end.
        unwritable: Why nothing can be written there, which then was not brought to an end either; empty where it can.
    """

    active: Bundled | None
    previous: Bundled | None
    on_trial: bool
    trial_until_s: float | None
    highest: Mapping[str, int]
    audit_head: str
    resolved: str = ""
    busy: bool = False
    unwritable: str = ""

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        return cls(
            active=_maybe_bundled(fields, "active"),
            previous=_maybe_bundled(fields, "previous"),
            on_trial=fields.flag("on_trial"),
            trial_until_s=None if fields.null("trial_until_s") else fields.finite("trial_until_s"),
            highest=fields.table("highest").each(Fields.count),
            audit_head=fields.sha256("audit_head"),
            resolved=fields.word("resolved"),
            busy=fields.flag("busy"),
            unwritable=fields.word("unwritable"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a device is and has.

    Attributes:
        agent: Version of tinsmith there.
        python: Version of the Python that runs the agent.
        engines: Version of each engine that is installed, by name.
        arch: ``x86_64``, ``aarch64``, ``armv7l``, or as the machine says it.
        cpu: Its name; may be empty.
        cpu_features: Those that decide about kernels.
        cores: That the agent may use.
        ram_bytes: Of the machine; 0 where the system does not say.
        disk_free_bytes: Where the slots lie.
        machine_id: Names the machine; empty where the system does not say.
        keys: The ids of the keys that are trusted.
        status: What is served.
    """

    agent: str
    python: str
    engines: Mapping[str, str]
    arch: str
    cpu: str
    cpu_features: tuple[str, ...]
    cores: int
    ram_bytes: int
    disk_free_bytes: int
    machine_id: str
    keys: tuple[str, ...]
    status: DeviceStatus

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        return cls(
            agent=fields.text("agent"),
            python=fields.text("python"),
            engines=fields.table("engines").each(Fields.word),
            arch=fields.word("arch"),
            cpu=fields.word("cpu"),
            cpu_features=fields.names("cpu_features"),
            cores=fields.count("cores"),
            ram_bytes=fields.count("ram_bytes", least=0),
            disk_free_bytes=fields.count("disk_free_bytes", least=0),
            machine_id=fields.word("machine_id"),
            keys=fields.names("keys"),
            status=DeviceStatus.read(fields.table("status")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A bundle that a patch may be made against."""

    sha256: str
    name: str
    version: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingBytes:
    """What is there of a bundle.

    Attributes:
        there: Where the whole of it lies: ``active``, ``slot``, ``parts``; empty where it does not.
        part_bytes: How much of the file that is sent has come.
        part_prefix: Sha256 of so much; a host that finds another one sends from the start.
        bases: What a patch may be made against; the one that is served comes first.
    """

    there: str
    part_bytes: int
    part_prefix: str
    bases: tuple[Base, ...]

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        return cls(
            there=fields.one_of("there", ("", "active", "slot", "parts")),
            part_bytes=fields.count("part_bytes", least=0),
            part_prefix=fields.sha256("part_prefix"),
            bases=tuple(_base(base) for base in fields.many("bases")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What became of what was sent.

    Attributes:
        received: Whether the bundle lies there now.
        reason: Why not, where a patch can't be used; then the host sends the whole bundle.
    """

    received: bool
    reason: str = ""

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        return cls(received=fields.flag("received"), reason=fields.word("reason"))


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledBundle:
    """A bundle that has passed its checks.

    Attributes:
        bundle: What it is.
        durations_ms: Of each stage that was gone through, by name; none where it was active already.
        engine: That ran it; empty where it was active already.
        engine_version: Of its package.
        golden: What the golden check found, for people; empty where the bundle has no golden samples.
        served: What the server of the device answers with, for people; ``NOT_RUNNING`` where it has one that does not
            run, and empty where nobody asked, or it has none.
        start: The command on the device that starts its server; empty where one runs, or nobody knows.
    """

    bundle: Bundled
    durations_ms: Mapping[str, float] = field(default_factory=dict)
    engine: str = ""
    engine_version: str = ""
    golden: str = ""
    served: str = ""
    start: str = ""

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        return cls(
            bundle=Bundled.read(fields.table("bundle")),
            durations_ms=fields.table("durations_ms").each(Fields.finite),
            engine=fields.word("engine"),
            engine_version=fields.word("engine_version"),
            golden=fields.word("golden"),
            served=fields.word("served"),
            start=fields.word("start") if "start" in fields else "",  # older agents do not say
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activated:
    """A bundle that is served.

    Attributes:
        active: What it is.
        on_trial: Whether it may still be taken back by itself.
        trial_until_s: When, since 1970 by the device's clock; None where it is committed.
        audit_head: Sha256 of the last line of the audit log.
    """

    active: Bundled
    on_trial: bool
    trial_until_s: float | None
    audit_head: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        return cls(
            active=Bundled.read(fields.table("active")),
            on_trial=fields.flag("on_trial"),
            trial_until_s=None if fields.null("trial_until_s") else fields.finite("trial_until_s"),
            audit_head=fields.sha256("audit_head"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """A rollback that was done, now or by the same request before.

    Attributes:
        active: What is served now; None where nothing was before the first update.
        taken_back: What was taken back.
        audit_head: Sha256 of the last line of the audit log.
    """

    active: Bundled | None
    taken_back: Bundled
    audit_head: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a document."""
        return cls(
            active=_maybe_bundled(fields, "active"),
            taken_back=Bundled.read(fields.table("taken_back")),
            audit_head=fields.sha256("audit_head"),
        )


Answer = DeviceFacts | DeviceStatus | MissingBytes | Received | InstalledBundle | Activated | RolledBack


def answer_json(answer: Answer) -> dict[str, Any]:
    """The document of an answer."""
    return {"schema": 1, **asdict(answer)}


def _maybe_bundled(fields: Fields, key: str) -> Bundled | None:
    return None if (found := fields.maybe(key)) is None else Bundled.read(found)


def _base(fields: Fields) -> Base:
    base = Base(
        sha256=fields.sha256("sha256"),
        name=fields.text("name"),
        version=fields.count("version"),
        size_bytes=fields.count("size_bytes"),
    )
    fields.end()
    return base
