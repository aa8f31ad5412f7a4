"""A deployment: proof that verified bytes are active on a device, and which bytes were before."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.runtime.agent.answers import Bundled

__all__ = ["Deployment", "Sent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What went over the link.

    Attributes:
        form: ``whole``, ``lzma`` or ``bsdiff``; empty where nothing was missing.
        size_bytes: That went in this run.
        resumed_bytes: That were there already from a run before.
    """

    form: str = ""
    size_bytes: int = 0
    resumed_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A device, and the bundle that is active there now.

    Attributes:
        device: Its name.
        address: How it was reached.
        active: What its server serves, or will once it runs.
        before: What was active when the flash began; None where nothing was.
        changed: Whether it is another bundle than before.
        sent: What went over the link.
        engine: That ran the golden inputs on the device; empty where nothing ran there.
        engine_version: Of its package.
        golden: What the golden check found, for people.
        served: What the server of the device answers with, as ``InstalledBundle.served``.
        start: The command on the device that starts its server; empty where one runs, or nobody knows.
        durations_ms: By stage, in the order in which they were gone through.
        audit_head: Sha256 of the last line of the device's audit log.
        verified: Whether the bundle was run on the device; a phone without a program that runs it can't.
    """

    device: str
    address: str
    active: Bundled
    before: Bundled | None
    changed: bool
    sent: Sent
    engine: str = ""
    engine_version: str = ""
    golden: str = ""
    served: str = ""
    start: str = ""
    durations_ms: Mapping[str, float] = field(default_factory=dict)
    audit_head: str = ""
    verified: bool = True

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return asdict(self)
