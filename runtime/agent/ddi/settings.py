"""``BASE/hawkbit.json``: where the hawkBit server is, who this device is to it, and what it may ask for."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.fields import Fields, parse_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SETTINGS", "HawkbitSettings", "Token", "read_settings"]

SETTINGS = "hawkbit.json"
_SCHEMA = 1
_HINT = "docs/hawkbit.md lists its keys"
_MOST_BYTES = 1 << 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_VISIBLE = re.compile(r"[!-~]+")
_TOKENS = {"target_token": "TargetToken", "gateway_token": "GatewayToken"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What proves to the server who asks.

    Attributes:
        scheme: ``TargetToken``, one device's own, or ``GatewayToken``, one for all of a tenant.
        path: The file that holds it, and nothing else.
    """

    scheme: str
    path: Path

    def header(self) -> str:
        """The value of ``Authorization``, read anew, so that a token may be changed while the client runs.

        Raises:
            UsageError: The file can't be read, or holds no token; what it holds is never said.
        """
        try:
            token = self.path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(f"cannot read the token {self.path}: {reason}", hint=_HINT) from None
        if not _VISIBLE.fullmatch(token):
            raise UsageError(f"{self.path} holds no token: one word of visible characters", hint=_HINT)
        return f"{self.scheme} {token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HawkbitSettings:
    """What the client goes by.

    Attributes:
        url: Of the server, without a slash at its end.
        tenant: Of the server; ``DEFAULT`` where nobody has made others.
        controller_id: This device's name there.
        token: None for a server that lets everybody in.
        ca_file: Certificates to trust instead of the system's; None for those.
        allow_unsigned: Take bundles that nobody signed, on a device that trusts no key.
        confirm: Confirm by itself what a device has to confirm; otherwise a person does, on the server.
        report_installed: Tell the server what was installed without it.
        window_s: How long a bundle must stay healthy before it is committed, from 0 on.
        time_limit_s: For each answer of the child process that tries a bundle.
        poll_s: How often to poll where the server does not say, from 5 on.
    """

    url: str
    tenant: str
    controller_id: str
    token: Token | None = None
    ca_file: Path | None = None
    allow_unsigned: bool = False
    confirm: bool = True
    report_installed: bool = True
    window_s: float = 60.0
    time_limit_s: float = 60.0
    poll_s: float = 300.0

    @property
    def root(self) -> str:
        """Address of this device's resource on the server."""
        tenant, controller = (urllib.parse.quote(name, safe="") for name in (self.tenant, self.controller_id))
        return f"{self.url}/{tenant}/controller/v1/{controller}"


def read_settings(base: Path) -> HawkbitSettings:
    """Read the settings of a board; paths in them start at its folder.

    Raises:
        UsageError: The file is missing or damaged, holds an unknown key, or would show the token to the network.
    """
    path = base / SETTINGS
    try:
        with path.open("rb") as stream:
            document = parse_json(stream.read(_MOST_BYTES), of=str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint=_HINT) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no object", hint=_HINT)
    return _settings(Fields(document, of=str(path), hint=_HINT), base)


def _settings(fields: Fields, base: Path) -> HawkbitSettings:
    fields.schema(_SCHEMA)
    settings = HawkbitSettings(
        url=_url(fields),
        tenant=fields.text("tenant", default="DEFAULT"),
        controller_id=fields.text("controller_id"),
        token=_token(fields, base),
        ca_file=base / fields.text("ca_file") if "ca_file" in fields else None,
        allow_unsigned=_flag(fields, "allow_unsigned", default=False),
        confirm=_flag(fields, "confirm", default=True),
        report_installed=_flag(fields, "report_installed", default=True),
        window_s=_number(fields, "window_s", least=0, default=60.0),
        time_limit_s=_number(fields, "time_limit_s", least=0.1, default=60.0),
        poll_s=_number(fields, "poll_s", least=5, default=300.0),
    )
    fields.end()
    parts = urllib.parse.urlsplit(settings.url)
    if settings.token is not None and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise fields.wrong(f"would send the token in the open to {parts.hostname}", hint="use https")
    return settings


def _url(fields: Fields) -> str:
    url = fields.text("url").rstrip("/")
    try:
        parts = urllib.parse.urlsplit(url)
        fit = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        fit = False
    if not fit or parts.username or parts.query or parts.fragment or not _VISIBLE.fullmatch(url):
        raise fields.wrong(
            "says url = something that is no address of a server", hint="such as https://hawkbit.example.com"
        )
    return url


def _token(fields: Fields, base: Path) -> Token | None:
    named = [key for key in _TOKENS if key in fields]
    if len(named) > 1:
        raise fields.wrong("names two tokens; a device has one")
    return Token(scheme=_TOKENS[named[0]], path=base / fields.text(named[0])) if named else None


def _flag(fields: Fields, key: str, *, default: bool) -> bool:
    return fields.flag(key) if key in fields else default


def _number(fields: Fields, key: str, *, least: float, default: float) -> float:
    return fields.number(key, least=least) if key in fields else default
