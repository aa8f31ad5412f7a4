"""The keys of a board: the one that it shows, and the one that it lets in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Keys", "keys_in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Files with keys, private ones readable by their owner alone.

    Attributes:
        host: The private key that the board shows.
        user: The private key that it lets in.
        authorized: The public half of that, as sshd reads it.
        fingerprint: Of the host key, as ``ssh-keygen -l`` prints it.
    """

    host: Path
    user: Path
    authorized: Path
    fingerprint: str


def keys_in(folder: Path) -> Keys:
    """Those of a folder, made where they are not there.

    Raises:
        MissingDependencyError: asyncssh is not installed.
    """
    try:
        import asyncssh
    except ModuleNotFoundError as error:
        raise MissingDependencyError("asyncssh", extra="devices", needed_for="a virtual board") from error
    for name in ("host_key", "id"):
        if not (folder / name).exists():
            key = asyncssh.generate_private_key("ssh-ed25519")
            # the mode comes first
            (folder / name).touch(mode=0o600)
            key.write_private_key(str(folder / name))
    authorized = folder / "authorized_keys"
    asyncssh.read_private_key(str(folder / "id")).write_public_key(str(authorized))
    authorized.chmod(0o600)
    fingerprint = asyncssh.read_private_key(str(folder / "host_key")).get_fingerprint()
    return Keys(host=folder / "host_key", user=folder / "id", authorized=authorized, fingerprint=fingerprint)
