"""An SSH connection to a device, over the hosts on the way to it; what goes wrong becomes an error of ours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncssh

from tinsmith.devices.transports.host_keys import HostKeyJudge, read_known_hosts, usual_known_hosts
from tinsmith.devices.transports.steps import Step
from tinsmith.runtime.errors import (
    AccessDeniedError,
    DeviceError,
    DeviceTimeoutError,
    LinkLostError,
    UnreachableError,
    first_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tinsmith.devices.transports.addresses import Host, SshAddress

__all__ = ["Route", "SshSettings", "connect", "device_errors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """How to connect.

    Attributes:
        known_hosts: Files of host keys; those that are not there are left out.
        config: SSH configuration files; None for the user's own.
        connect_limit_s: For each host on the way, from its name to the login.
        keepalive_s: How long a silent link is waited for before it is asked for a sign of life; three without an
            answer, and it is lost.
    """

    known_hosts: tuple[Path, ...] = field(default_factory=usual_known_hosts)
    config: tuple[Path, ...] | None = None
    connect_limit_s: float = 10.0
    keepalive_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Connections to the device and to each host on the way, nearest first."""

    hops: tuple[asyncssh.SSHClientConnection, ...]

    @property
    def device(self) -> asyncssh.SSHClientConnection:
        """The connection to the device itself."""
        return self.hops[-1]

    @property
    def is_open(self) -> bool:
        """False once any of them is closed or lost."""
        return not any(hop.is_closed() for hop in self.hops)

    async def close(self) -> None:
        """Say goodbye to each, the device first."""
        for hop in reversed(self.hops):
            hop.close()
            await hop.wait_closed()

    async def abort(self) -> None:
        """Let go of all of them at once, without a word."""
        for hop in reversed(self.hops):
            hop.abort()


async def connect(address: SshAddress, settings: SshSettings) -> Route:
    """Connect to a device.

    Raises:
        DeviceError: Any of the hosts does not answer, is not proven to be the one that was meant, or lets us not in.
        UsageError: A known_hosts file can't be read.
    """
    known = read_known_hosts(settings.known_hosts)
    hops: list[asyncssh.SSHClientConnection] = []
    try:
        for host in (*address.jumps, address.at):
            hops.append(await _hop(address, host, hops, known, settings))
    except BaseException:
        await Route(hops=tuple(hops)).abort()
        raise
    return Route(hops=tuple(hops))


async def _hop(
    address: SshAddress,
    host: Host,
    before: list[asyncssh.SSHClientConnection],
    known: asyncssh.SSHKnownHosts,
    settings: SshSettings,
) -> asyncssh.SSHClientConnection:
    doing = "connecting" if host is address.at else f"connecting to its jump host {host}"
    step = Step(address=str(address), doing=doing)
    pinned = address.host_key if host is address.at else None
    # a pin means exactly that key, whatever the files say
    judge = HostKeyJudge(known, pinned)
    options = _options(address, host, settings, step)
    options["known_hosts"] = asyncssh.SSHKnownHosts() if pinned else known
    options["client_factory"] = lambda: judge
    try:
        return await asyncio.wait_for(
            asyncssh.connect(host.host, tunnel=before[-1] if before else (), **options), settings.connect_limit_s
        )
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
        raise judge.refusal(step, host, address.jumps if host is address.at else (), first_line(error)) from error
    except (TimeoutError, asyncio.TimeoutError) as error:
        said = f"it did not answer within {settings.connect_limit_s:g} s"
        raise step.failed(said, hint=_check(host), kind=UnreachableError) from error
    except (asyncssh.PermissionDenied, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise _not_let_in(step, address, host, error) from error
    except (OSError, asyncssh.Error, asyncssh.ConfigParseError) as error:
        raise step.failed(_reason(error), hint=_check(host), kind=UnreachableError) from error


def _options(address: SshAddress, host: Host, settings: SshSettings, step: Step) -> dict[str, Any]:
    options: dict[str, Any] = {
        "keepalive_interval": settings.keepalive_s,
        "keepalive_count_max": 3,
        "login_timeout": settings.connect_limit_s,
        "password_auth": False,
        "kbdint_auth": False,
    }
    if settings.config is not None:
        options["config"] = [str(path) for path in settings.config]
    if host.user is not None:
        options["username"] = host.user
    if host.port is not None:
        options["port"] = host.port
    if address.key is not None:
        if not address.key.is_file():
            hint = f"check it with: ls -l {address.key}"
            raise step.failed(f"there is no key {address.key}", hint=hint, kind=AccessDeniedError)
        # the agent would offer all of its keys first, and a server ends after six
        options |= {"client_keys": [str(address.key)], "agent_path": None}
    return options


def _not_let_in(step: Step, address: SshAddress, host: Host, error: Exception) -> DeviceError:
    if isinstance(error, ValueError):
        hint = (
            f"`ssh-keygen -y -f {address.key}` shows what is wrong; for a passphrase use `ssh-add`, and leave key= out"
        )
        return step.failed(f"the key {address.key}: {first_line(error)}", hint=hint, kind=AccessDeniedError)
    user = f"the user {host.user}" if host.user else "you"
    hint = f"bring your key there with: ssh-copy-id {f'-p {host.port} ' if host.port else ''}{host.login}"
    return step.failed(f"it lets {user} not in with any key at hand", hint=hint, kind=AccessDeniedError)


def _check(host: Host) -> str:
    port = f"-p {host.port} " if host.port else ""
    return f"see whether it is on and in the network: ssh -v {port}{host.login}"


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "there is no host of that name"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)


@contextlib.contextmanager
def device_errors(step: Step, folder: str, time_limit_s: float) -> Iterator[None]:
    """Turn what asyncssh raises once a device is connected into an error of ours."""
    again = "run the same command again: it goes on where it ended"
    try:
        yield
    except TimeoutError as error:
        said = f"nothing came for {time_limit_s:g} s"
        raise step.failed(said, hint=again, kind=DeviceTimeoutError) from error
    except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded) as error:
        raise step.full(folder) from error
    except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError, OSError) as error:
        raise step.failed(f"the link was lost: {_reason(error)}", hint=again, kind=LinkLostError) from error
    except asyncssh.SFTPError as error:
        hint = f"`ls -ld {folder}` on the device shows whether it is there and who may write to it"
        raise step.failed(_reason(error), hint=hint) from error
    except asyncssh.ChannelOpenError as error:
        if error.code == asyncssh.OPEN_CONNECT_FAILED:
            raise step.failed(f"the link was lost: {_reason(error)}", hint=again, kind=LinkLostError) from error
        hint = "its sshd may allow no programs, or no more of them: see ForceCommand and MaxSessions in its sshd_config"
        raise step.failed(f"it opens no session: {_reason(error)}", hint=hint) from error
