"""What came of one device of a rollout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinsmith.devices.flashing.deployment import Sent
from tinsmith.runtime.errors import LinkLostError, RolledBackError, TinsmithError, UnreachableError, error_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from tinsmith.devices.device import Device
    from tinsmith.devices.flashing.deployment import Deployment
    from tinsmith.runtime.fields import Fields

__all__ = ["DONE", "FAILED", "LATER", "NOT_STARTED", "ROLLED_BACK", "UNCHANGED", "Outcome"]

DONE, UNCHANGED, FAILED, ROLLED_BACK = "done", "unchanged", "failed", "rolled back"
LATER, NOT_STARTED = "later", "not started"
_RESULTS = (DONE, UNCHANGED, FAILED, ROLLED_BACK, LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one device.

    Attributes:
        device: Its name.
        address: How it was reached, or would be.
        result: ``done``, ``unchanged`` (it served the bundle already), ``failed``, ``rolled back``, ``later`` (it does
            not answer, and nothing was done) or ``not started`` (the rollout was stopped before).
        version: Of the bundle, where the device serves it now.
        sent: What went over the link.
        took_s: From the first question to the end.
        audit_head: Sha256 of the last line of the device's audit log; empty where it did not say.
        error: Why it does not serve the bundle.
        deployment: The proof; None in an outcome that was read from a journal.
    """

    device: str
    address: str
    result: str
    version: int | None = None
    sent: Sent = field(default_factory=Sent)
    took_s: float = 0.0
    audit_head: str = ""
    error: TinsmithError | None = None
    deployment: Deployment | None = None

    @classmethod
    def of(cls, deployment: Deployment, took_s: float) -> Self:
        """Of a device that serves the bundle."""
        return cls(
            device=deployment.device,
            address=deployment.address,
            result=DONE if deployment.changed else UNCHANGED,
            version=deployment.active.version,
            sent=deployment.sent,
            took_s=took_s,
            audit_head=deployment.audit_head,
            deployment=deployment,
        )

    @classmethod
    def of_error(cls, device: Device, error: TinsmithError, took_s: float, *, begun: bool) -> Self:
        """Of a device that does not; one that was lost after something had begun there has failed.

        A bundle that kills its devices must not pass for devices that are switched off.
        """
        result = ROLLED_BACK if isinstance(error, RolledBackError) else FAILED
        if isinstance(error, UnreachableError) and not begun:
            result = LATER
        return cls(device=device.name, address=device.address, result=result, took_s=took_s, error=error)

    @property
    def serves(self) -> bool:
        """Whether the device serves the bundle."""
        return self.result in (DONE, UNCHANGED)

    @property
    def counts(self) -> bool:
        """Whether it counts against the bundle."""
        return self.result in (FAILED, ROLLED_BACK)

    @property
    def may_answer_again(self) -> bool:
        """Whether it was the link alone, and the device is worth another question at the end."""
        return self.result == LATER or isinstance(self.error, UnreachableError | LinkLostError)

    @property
    def exit_code(self) -> int:
        """What the command line returns for it."""
        return 0 if self.error is None else self.error.exit_code

    def to_json(self) -> dict[str, Any]:
        """For reports and journals."""
        error = self.error
        said = None if error is None else {
            "code": error.code, "exit_code": error.exit_code, "message": error.message, "hint": error.hint,
        }  # fmt: skip
        return {
            "device": self.device,
            "address": self.address,
            "result": self.result,
            "version": self.version,
            "form": self.sent.form,
            "sent_bytes": self.sent.size_bytes,
            "resumed_bytes": self.sent.resumed_bytes,
            "took_s": self.took_s,
            "audit_head": self.audit_head,
            "error": said,
        }

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a journal."""
        error = fields.maybe("error")
        return cls(
            device=fields.text("device"),
            address=fields.text("address"),
            result=fields.one_of("result", _RESULTS),
            version=None if fields.null("version") else fields.count("version"),
            sent=_sent(fields),
            took_s=fields.number("took_s", least=0),
            audit_head=fields.word("audit_head"),
            error=None if error is None else _error(error),
        )


def _sent(fields: Fields) -> Sent:
    size_bytes, resumed_bytes = (fields.count(key, least=0) for key in ("sent_bytes", "resumed_bytes"))
    return Sent(form=fields.word("form"), size_bytes=size_bytes, resumed_bytes=resumed_bytes)


def _error(fields: Fields) -> TinsmithError:
    code, exit_code = fields.text("code"), fields.count("exit_code")
    return error_of(code, exit_code, fields.text("message"), hint=fields.word("hint"))
