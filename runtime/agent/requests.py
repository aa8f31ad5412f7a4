"""What a host asks the agent: one JSON document each, every field held to its type.

``{"schema": 1, "request": "activate", "sha256": "...", "window_s": 120}``
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tinsmith.runtime.answering import read_request_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields

__all__ = [
    "Activate",
    "Asked",
    "Boot",
    "Commit",
    "Facts",
    "Health",
    "Install",
    "Missing",
    "Receive",
    "Request",
    "Rollback",
    "Status",
    "read_request",
    "request_json",
]

_SCHEMA = 1
FORMS = ("whole", "lzma", "bsdiff")


class _Request:
    """What all have in common.

    Attributes:
        name: In the document.
        changes: Whether it is done under the lock.
    """

    __slots__ = ()
    name: ClassVar[str]
    changes: ClassVar[bool] = True

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields of the document; those of a request that has none."""
        del fields
        return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts(_Request):
    """What the device is and has."""

    name = "facts"
    changes = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(_Request):
    """What is active; ends what a crash has left."""

    name = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot(_Request):
    """As ``Status``; asked by the device itself when it starts, before anything is served."""

    name = "boot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(_Request):
    """Whether what is served is still whole and answers as it should; changes nothing.

    Attributes:
        sha256: Of the bundle's file that must be served; empty for whatever is.
        time_limit_s: For each answer of the child process that tries it.
    """

    name = "health"
    changes = False
    sha256: str = ""
    time_limit_s: float = 60.0

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(sha256=fields.word("sha256"), time_limit_s=fields.number("time_limit_s", least=0.1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing(_Request):
    """What is missing of a bundle.

    Attributes:
        sha256: Of the bundle's file.
        size_bytes: Of the bundle's file.
        part: Sha256 of the file that is sent for it, packed or not; where it is sent as it is, the same.
        part_bytes: Of the file that is sent.
    """

    name = "missing"
    changes = False
    sha256: str
    size_bytes: int
    part: str
    part_bytes: int

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(
            sha256=fields.sha256("sha256"),
            size_bytes=fields.count("size_bytes"),
            part=fields.sha256("part"),
            part_bytes=fields.count("part_bytes"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive(_Request):
    """Make a bundle of what was sent.

    Attributes:
        sha256: Of the bundle's file.
        size_bytes: Of the bundle's file.
        part: Sha256 of the file that was sent to ``parts/PART.part``.
        form: ``whole``, ``lzma`` (an .xz file), or ``bsdiff``.
        base: Sha256 of the bundle that a bsdiff patch was made against; empty for other forms.
    """

    name = "receive"
    sha256: str
    size_bytes: int
    part: str
    form: str
    base: str = ""

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        form = fields.one_of("form", FORMS)
        return cls(
            sha256=fields.sha256("sha256"),
            size_bytes=fields.count("size_bytes"),
            part=fields.sha256("part"),
            form=form,
            base=fields.sha256("base") if form == "bsdiff" else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Install(_Request):
    """Check a bundle that is there, and put it into the slot that is not served.

    Attributes:
        sha256: Of the bundle's file.
        allow_unsigned: Take one that nobody signed, on a device that trusts no key.
        allow_downgrade: Take an older version than was committed before.
        time_limit_s: For each answer of the child process that tries it.
    """

    name = "install"
    sha256: str
    allow_unsigned: bool = False
    allow_downgrade: bool = False
    time_limit_s: float = 60.0

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(
            sha256=fields.sha256("sha256"),
            allow_unsigned=fields.flag("allow_unsigned"),
            allow_downgrade=fields.flag("allow_downgrade"),
            time_limit_s=fields.number("time_limit_s", least=0.1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate(_Request):
    """Serve an installed bundle on trial.

    Attributes:
        sha256: Of the bundle's file.
        window_s: How long the trial lasts before it is taken back, unless it is committed.
    """

    name = "activate"
    sha256: str
    window_s: float

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(sha256=fields.sha256("sha256"), window_s=fields.number("window_s", least=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(_Request):
    """Keep what is on trial.

    Attributes:
        sha256: Of the bundle's file.
    """

    name = "commit"
    sha256: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(sha256=fields.sha256("sha256"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(_Request):
    """Serve what was served before.

    Attributes:
        reason: For the audit log; one line.
    """

    name = "rollback"
    reason: str

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Take its own fields."""
        return cls(reason=fields.text("reason")[:500])


Request = Facts | Status | Boot | Health | Missing | Receive | Install | Activate | Commit | Rollback
_REQUESTS: dict[str, type[Request]] = {
    kind.name: kind for kind in (Facts, Status, Boot, Health, Missing, Receive, Install, Activate, Commit, Rollback)
}


class Asked(Protocol):
    """Any request: a dataclass with a name, of the agent or of another module that answers in the same way."""

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


def request_json(request: Asked) -> dict[str, Any]:
    """The document of a request, as a host sends it."""
    document = {"schema": _SCHEMA, "request": request.name, **asdict(request)}
    if isinstance(request, Receive) and request.form != "bsdiff":
        del document["base"]
    return document


def read_request(content: bytes) -> Request:
    """Read a document.

    Raises:
        DataError: It is damaged, of a newer schema, or asks for something else.
    """
    return read_request_of(content, _REQUESTS, schema=_SCHEMA)
