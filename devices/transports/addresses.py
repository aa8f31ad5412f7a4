"""Addresses: how the inventory writes where a device is, and the transport that each of them means.

::

    local                                   this machine
    local:/srv/board                        this machine, in a folder
    ssh://pi@10.0.0.7                       port 22, files below the user's home
    ssh://pi@board:2222/opt/tinsmith        another port, files below /opt/tinsmith
    ssh://pi@[fe80::1%25eth0]/~/models      IPv6; files below models in the user's home
    ssh://pi@board?jump=user@gate:2200      through a jump host; several are separated by commas
    ssh://pi@board?key=/keys/pi&hostkey=SHA256:…    a key of the user, and the host key's fingerprint
    adb:  adb:SERIAL  adb:10.0.0.9:5555     a phone or an Android board, by its serial number
    adb:SERIAL/data/local/tmp/x             files below a folder
    NAME:…                                  a transport of somebody else, by the entry point group tinsmith.transports
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from tinsmith.runtime.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.devices.transports.protocol import Transport

__all__ = ["AdbAddress", "Address", "Host", "LocalAddress", "OtherAddress", "SshAddress", "open_transport",
           "parse_address"]  # fmt: skip

_GROUP = "tinsmith.transports"
_FORMS = "write local, ssh://USER@HOST[:PORT][/FOLDER] or adb:SERIAL"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_HOST = re.compile(r"([a-z0-9_.-]+|[0-9a-f:.]+(%[\w.-]+)?)\Z")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAddress:
    """This machine.

    Attributes:
        base: The folder where programs start and files lie; None for ``/``.
    """

    base: PurePosixPath | None = None

    def __str__(self) -> str:
        return "local" if self.base is None else f"local:{self.base}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where an SSH server listens.

    Attributes:
        user: Who logs in; None for what the SSH configuration says, or the user of this machine.
        host: A name or an IP address, IPv6 without brackets.
        port: None for what the SSH configuration says, or 22.
    """

    user: str | None = None
    host: str
    port: int | None = None

    @property
    def login(self) -> str:
        """As the ssh program takes it, without the port."""
        return self.host if self.user is None else f"{self.user}@{self.host}"

    def __str__(self) -> str:
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        host = f"[{quote(self.host, safe=':')}]" if ":" in self.host else self.host
        return f"{user}{host}" if self.port is None else f"{user}{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """A device that is reached over SSH.

    Attributes:
        at: Where.
        base: The folder below which files go, from the user's home if relative; None when the address names none.
        jumps: The hosts on the way, nearest first.
        key: The private key to log in with; None for those of the agent and the SSH configuration.
        host_key: The fingerprint that its host key must have, ``SHA256:…``; None to look it up in known_hosts.
    """

    at: Host
    base: PurePosixPath | None = None
    jumps: tuple[Host, ...] = ()
    key: Path | None = None
    host_key: str | None = None

    def __str__(self) -> str:
        path = "" if self.base is None else quote(str(self.base) if self.base.is_absolute() else f"/~/{self.base}")
        facts = {
            "jump": ",".join(map(str, self.jumps)),
            "key": "" if self.key is None else quote(str(self.key)),
            "hostkey": self.host_key or "",
        }
        query = "&".join(f"{name}={value}" for name, value in facts.items() if value)
        return f"ssh://{self.at}{path}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbAddress:
    """A device that is reached by the adb program.

    Attributes:
        serial: As ``adb devices`` prints it; None for the only one that is there.
        base: The folder below which files go; None when the address names none.
    """

    serial: str | None = None
    base: PurePosixPath | None = None

    def __str__(self) -> str:
        return f"adb:{self.serial or ''}{self.base or ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherAddress:
    """An address that a transport of somebody else reads.

    Attributes:
        scheme: The name of its entry point.
        text: The whole address.
        base: Not known.
    """

    scheme: str
    text: str
    base: PurePosixPath | None = field(default=None, init=False)

    def __str__(self) -> str:
        return self.text


Address = LocalAddress | SshAddress | AdbAddress | OtherAddress


def parse_address(text: str) -> Address:
    """Read an address as a person writes it.

    Raises:
        UsageError: It is none; what is wrong with it.
    """
    scheme, _, rest = text.partition(":")
    if not _SCHEME.match(scheme) or any(ord(c) < 32 for c in text):
        raise _wrong(text, "it does not begin with the name of a transport")
    if text == "local":
        return LocalAddress()
    readers: dict[str, Callable[[str, str], Address]] = {"local": _local, "ssh": _ssh, "adb": _adb}
    if scheme in readers and ":" in text:
        return readers[scheme](text, rest)
    if ":" not in text:
        raise _wrong(text, "it does not begin with the name of a transport")
    return OtherAddress(scheme=scheme, text=text)


def open_transport(address: str | Address) -> Transport:
    """The transport for an address; a device is reached for on its first use.

    Raises:
        UsageError: It is no address, or no transport of that name is installed.
        MissingDependencyError: The transport needs a package that is not installed.
    """
    parsed = parse_address(address) if isinstance(address, str) else address
    if isinstance(parsed, LocalAddress):
        from tinsmith.devices.transports.local import LocalTransport

        return LocalTransport(Path(parsed.base or "/"))
    if isinstance(parsed, SshAddress):
        return _over_ssh(parsed)
    if isinstance(parsed, AdbAddress):
        from tinsmith.devices.transports.adb import AdbTransport

        return AdbTransport(parsed)
    return _of_somebody_else(parsed)


def _over_ssh(address: SshAddress) -> Transport:
    try:
        from tinsmith.devices.transports.ssh import SshTransport
    except ModuleNotFoundError as error:
        raise MissingDependencyError("asyncssh", extra="devices", needed_for="a device over SSH") from error
    return SshTransport(address)


def _of_somebody_else(address: OtherAddress) -> Transport:
    found = entry_points(group=_GROUP)
    if address.scheme not in found.names:
        known = ", ".join(sorted({"local", "ssh", "adb", *found.names}))
        hint = f"install the package that brings it; {_FORMS}"
        raise UsageError(f"{address}: there is no transport {address.scheme}; there are {known}", hint=hint)
    make: Callable[[str], Transport] = found[address.scheme].load()
    return make(address.text)


def _local(text: str, rest: str) -> LocalAddress:
    if not rest.startswith("/"):
        raise _wrong(text, "the folder must begin with /")
    return LocalAddress(base=_folder(rest))


def _adb(text: str, rest: str) -> AdbAddress:
    serial, slash, folder = rest.removeprefix("//").partition("/")
    if serial.startswith("-") or any(c.isspace() for c in serial):
        raise _wrong(text, f"{serial!r} is no serial number")
    return AdbAddress(serial=serial or None, base=_folder(slash + folder))


def _ssh(text: str, _: str) -> SshAddress:
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise _wrong(text, str(error)) from error
    if not text.startswith("ssh://") or url.fragment:
        raise _wrong(text, "it is not ssh://USER@HOST")
    facts = _facts(text, url.query)
    host_key = facts.get("hostkey")
    if host_key is not None and not _FINGERPRINT.match(host_key):
        raise _wrong(text, "hostkey is no fingerprint such as `ssh-keygen -l` prints: SHA256: and 43 characters")
    path = unquote(url.path)
    return SshAddress(
        at=_host(text, url.netloc),
        base=PurePosixPath(path[3:]) if path.startswith("/~/") else _folder(path),
        jumps=tuple(_host(text, jump) for jump in facts["jump"].split(",")) if "jump" in facts else (),
        key=Path(facts["key"]).expanduser() if "key" in facts else None,
        host_key=host_key,
    )


def _facts(text: str, query: str) -> dict[str, str]:
    """The part behind ``?``; a plus sign is one, because fingerprints hold them."""
    facts: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        name, _, value = pair.partition("=")
        if name not in {"jump", "key", "hostkey"} or not value or name in facts:
            raise _wrong(text, f"?{pair} is none of jump=USER@HOST, key=FILE and hostkey=SHA256:…, each given once")
        # a jump host is unquoted after its parts are taken apart
        facts[name] = value if name == "jump" else unquote(value)
    return facts


def _host(text: str, netloc: str) -> Host:
    user, at, place = netloc.rpartition("@")
    if ":" in user:
        raise _wrong(text, "a password has no place in it; use a key or an agent")
    host, port = _host_and_port(text, place)
    if not _HOST.match(host) or host.startswith("-") or (at and not user) or unquote(user).startswith("-"):
        raise _wrong(text, "it names no host")
    return Host(user=unquote(user) if at else None, host=host, port=port)


def _host_and_port(text: str, place: str) -> tuple[str, int | None]:
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, ""
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        raise _wrong(text, "an IPv6 address stands in brackets, [::1]")
    if (colon and not place.endswith("]") and not port) or (port and not _is_port(port)):
        raise _wrong(text, f"{port!r} is no port")
    return _lower(unquote(host.strip("[]"))), int(port) if port else None


def _lower(host: str) -> str:
    """Names know no case; the zone of an IPv6 address does."""
    name, percent, zone = host.partition("%")
    return name.lower() + percent + zone


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _folder(path: str) -> PurePosixPath | None:
    return PurePosixPath(path) if path.strip("/") else None


def _wrong(text: str, reason: str) -> UsageError:
    return UsageError(f"{text!r} is no address of a device: {reason}", hint=_FORMS)
