"""What a device tells the server: about an action (``DdiActionFeedback``, ``DdiStatus``), and about itself.

The time of feedback is left to the server's clock: boards without a battery have none that could be relied on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

    from tinsmith.runtime.agent.answers import DeviceFacts
    from tinsmith.runtime.fields import Fields

__all__ = ["Feedback", "attributes"]

_EXECUTIONS = ("proceeding", "downloaded", "closed", "rejected")
_RESULTS = ("none", "success", "failure")
# the server cuts messages into pieces of 512 characters, and takes 50 of them
_MOST_CHARACTERS = 500
_MOST_VALUE_CHARACTERS = 128  # Target.CONTROLLER_ATTRIBUTE_MAX_VALUE_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One message about one action.

    Attributes:
        link: Of the action's resource, without a query.
        action: Its id.
        execution: ``proceeding``, ``downloaded``, ``closed``, or ``rejected`` for a cancellation that comes too late.
        finished: ``none`` until it is closed, then ``success`` or ``failure``.
        details: For people.
        code: The exit code that the command line would have had; None where there is none to say.
        bundle: Sha256 of the bundle that it is about, which the server is not told: servers that were set up anew count
            their actions from 1 again.
    """

    link: str
    action: str
    execution: str
    finished: str
    details: tuple[str, ...]
    code: int | None = None
    bundle: str = ""

    @property
    def closes(self) -> bool:
        """Whether the action is over with it."""
        return self.execution == "closed"

    def document(self) -> dict[str, Any]:
        """The body of the request; servers before 1.0 want the id in it."""
        status: dict[str, Any] = {
            "execution": self.execution,
            "result": {"finished": self.finished},
            "details": [detail[:_MOST_CHARACTERS] for detail in self.details],
        }
        if self.code is not None:
            status["code"] = self.code
        return {"id": self.action, "status": status}

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From the journal."""
        feedback = cls(
            link=fields.text("link"),
            action=fields.text("action"),
            execution=fields.one_of("execution", _EXECUTIONS),
            finished=fields.one_of("finished", _RESULTS),
            details=fields.names("details"),
            code=None if fields.null("code") else fields.count("code", least=0),
            bundle=fields.word("bundle"),
        )
        fields.end()
        return feedback


def attributes(facts: DeviceFacts) -> dict[str, str]:
    """Names and values for ``DdiConfigData``; always the same names, so that none stays behind with an old value.

    The machine's id is left out: systemd asks that it be shown to no network (machine-id(5)).
    """
    active = facts.status.active
    said = {
        "agent": facts.agent,
        "python": facts.python,
        "engines": ", ".join(f"{name} {version}" for name, version in sorted(facts.engines.items())),
        "arch": facts.arch,
        "cpu": facts.cpu,
        "cores": str(facts.cores),
        "ram_bytes": str(facts.ram_bytes),
        "disk_free_bytes": str(facts.disk_free_bytes),
        "trusted_keys": ", ".join(facts.keys),
        "bundle": "" if active is None else active.name,
        "bundle_version": "" if active is None else str(active.version),
        "bundle_sha256": "" if active is None else active.sha256,
    }
    return {f"tinsmith.{name}": value[:_MOST_VALUE_CHARACTERS] for name, value in said.items()}
