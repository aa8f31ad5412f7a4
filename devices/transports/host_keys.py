"""Host keys: is the machine that answers the one that was meant?

A key must stand in a known_hosts file, or have the fingerprint that the address pins. There is no way to take any key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from tinsmith.runtime.errors import AccessDeniedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinsmith.devices.transports.addresses import Host
    from tinsmith.devices.transports.steps import Step
    from tinsmith.runtime.errors import DeviceError

__all__ = ["HostKeyJudge", "read_known_hosts", "usual_known_hosts"]


def usual_known_hosts() -> tuple[Path, ...]:
    """The files where OpenSSH looks too."""
    own = Path.home() / ".ssh"
    return (own / "known_hosts", own / "known_hosts2", Path("/etc/ssh/ssh_known_hosts"))


def read_known_hosts(paths: Iterable[Path]) -> asyncssh.SSHKnownHosts:
    """The keys of all the files that are there.

    Raises:
        UsageError: One of them can't be read.
    """
    known = asyncssh.SSHKnownHosts()
    for path in paths:
        if path.exists():
            try:
                known.load(path.read_text())
            except (OSError, ValueError) as error:
                hint = f"mend it, or list its keys with: ssh-keygen -lf {path}"
                raise UsageError(f"cannot read {path}: {error}", hint=hint) from error
    return known


class HostKeyJudge(asyncssh.SSHClient):
    """Is asked about each host key that no known_hosts file knows; takes it only if it has the pinned fingerprint.

    Args:
        known: What the known_hosts files say.
        pinned: ``SHA256:…``, or None.
    """

    def __init__(self, known: asyncssh.SSHKnownHosts, pinned: str | None) -> None:
        self._known = known
        self._pinned = pinned
        self._seen = ""
        self._other_known = False

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called by asyncssh; never for a key that is revoked."""
        self._seen = key.get_fingerprint()
        self._other_known = bool(self._known.match(host, addr, None if port == 22 else port)[0])
        return self._seen == self._pinned

    def refusal(self, step: Step, host: Host, jumps: Iterable[Host], reason: str) -> DeviceError:
        """The error for a host key that was not taken, with what to do about it."""
        if not self._seen:
            hint = "it was marked as revoked, or none of a known type was offered; list it with: ssh-keygen -F HOST"
            return step.failed(f"its host key is refused: {reason}", hint=hint, kind=AccessDeniedError)
        if self._pinned:
            said = f"its host key is {self._seen}, and the address says {self._pinned}"
            hint = f"{_COMPARE}; if it was changed on purpose, write the new one into the address"
            return step.failed(said, hint=hint, kind=AccessDeniedError)
        if self._other_known:
            said = f"its host key has changed to {self._seen}: another machine may stand in its place"
            name = host.host if host.port in (None, 22) else f"[{host.host}]:{host.port}"
            hint = f"{_COMPARE}; if it was changed on purpose, forget the old one with: ssh-keygen -R '{name}'"
            return step.failed(said, hint=hint, kind=AccessDeniedError)
        said = f"its host key is not known: {self._seen}"
        hint = f"{_COMPARE}; then take it with: {_login(host, jumps)}"
        return step.failed(said, hint=hint, kind=AccessDeniedError)


_COMPARE = "compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the device"


def _login(host: Host, jumps: Iterable[Host]) -> str:
    """The command of OpenSSH that shows the same fingerprint, and asks."""
    way = ",".join(map(str, jumps))
    user = "" if host.user is None else f"{host.user}@"
    parts = ["ssh", *(["-J", way] if way else []), *(["-p", str(host.port)] if host.port else []), user + host.host]
    return " ".join(parts)
