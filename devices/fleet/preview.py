"""What a flash would do: each device is asked what it has, and nothing is sent."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.devices.flashing.agents import agent_of
from tinsmith.devices.flashing.deployment import Sent
from tinsmith.devices.flashing.sending import Sender
from tinsmith.devices.reaching import open_device
from tinsmith.runtime.agent.answers import DeviceStatus, MissingBytes
from tinsmith.runtime.agent.requests import Status
from tinsmith.runtime.errors import TinsmithError

if TYPE_CHECKING:
    from tinsmith.devices.device import Device
    from tinsmith.devices.flashing.flash import Cargo
    from tinsmith.devices.flashing.store import Store
    from tinsmith.runtime.agent.answers import Bundled

__all__ = ["Preview", "preview"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a flash of one device would do.

    Attributes:
        device: Which one.
        active: What it serves; None where that is nothing, or it can't be asked.
        there: Where the whole bundle lies already, as ``MissingBytes`` has it.
        sent: What would go over the link. A bundle that is not packed yet counts as it is: it is packed while it goes,
            and on a slow link less is sent.
        error: Why it can't be asked.
    """

    device: Device
    active: Bundled | None = None
    there: str = ""
    sent: Sent | None = None
    error: TinsmithError | None = None

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        error = self.error
        said = None if error is None else error.to_json()
        return {
            "device": self.device.name,
            "address": self.device.address,
            "active": None if self.active is None else asdict(self.active),
            "there": self.there,
            "sent": None if self.sent is None else asdict(self.sent),
            "error": said,
        }


def preview(device: Device, cargo: Cargo, store: Store) -> Preview:
    """Ask a device what it has of a bundle, and make the patch that it would get.

    An update that a crash has left there is brought to an end, as by any question for the status.
    """
    try:
        with closing(open_device(device)) as transport:
            sender = Sender(
                agent=agent_of(device, transport), putting=transport, store=store,
                bundle=cargo.path, sha256=cargo.sha256, progress=_tell_nobody,
            )  # fmt: skip
            return _asked(device, sender)
    except TinsmithError as error:
        return Preview(device=device, error=error)


def _asked(device: Device, sender: Sender) -> Preview:
    answers = sender.agent.ask_all((Status(), sender.missing(sender.whole())))
    status, known = DeviceStatus.read(answers[0]), MissingBytes.read(answers[1])
    sent = Sent() if known.there else sender.expect(known)
    return Preview(device=device, active=status.active, there=known.there, sent=sent)


def _tell_nobody(done_bytes: int, size_bytes: int) -> None:
    """Nothing goes."""
    del done_bytes, size_bytes
