"""Whether the server of a device, where one runs, answers with what is active: files alone serve nobody."""

from __future__ import annotations

import contextlib
import http.client
import shlex
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.agent.answers import NOT_RUNNING
from tinsmith.runtime.agent.board import SERVER_SETTINGS
from tinsmith.runtime.errors import VerificationError
from tinsmith.runtime.fields import parse_json
from tinsmith.runtime.server.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.agent.board import Board
    from tinsmith.runtime.agent.state import Installed

__all__ = ["check_served", "start_command"]

_UNIT, _USERS_UNITS = "tinsmith.service", ".config/systemd/user"
_BETWEEN_S = 0.25
_ANSWER_S = 5.0
_MOST_BYTES = 1 << 20
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where we ask, not where we listen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """Where the server of this device listens, as its settings say."""

    host: str
    port: int
    name: str
    token: str
    certificate: Path | None

    def get(self, method: str, path: str) -> Any:
        """A document of it; None where it has none under that name. Raises ``OSError`` where nobody listens."""
        connection = self._connection()
        try:
            headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            connection.request(method, path, body=b"{}" if method == "POST" else None, headers=headers)
            answer = connection.getresponse()
            content = answer.read(_MOST_BYTES)
        except http.client.HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        return parse_json(content, of="the server's answer") if answer.status == 200 else None

    def _connection(self) -> http.client.HTTPConnection:
        if self.certificate is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=_ANSWER_S)
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = False  # it is asked by its address on this machine
        return http.client.HTTPSConnection(self.host, self.port, timeout=_ANSWER_S, context=context)


def check_served(
    board: Board, active: Installed, *, time_limit_s: float, pause: Callable[[float], None] = time.sleep
) -> str:
    """Ask the server of this device until it answers with the active bundle.

    Args:
        board: Its folder holds the server's settings, where it was set up to have one.
        active: What must be served.
        time_limit_s: For the server to follow.
        pause: Waits for so many seconds.

    Returns:
        What was found, for people; empty where the device has no server. ``NOT_RUNNING`` is no error: what is flashed
        before the first start is served after it.

    Raises:
        VerificationError: It answers, and with something else, or cannot be understood.
    """
    server = _server_of(board.base / SERVER_SETTINGS)
    if server is None:
        return ""
    ends_s, found = time.monotonic() + time_limit_s, ""
    while True:
        try:
            found = _serves(server)
        except OSError:
            return NOT_RUNNING
        if found == str(active.version):
            return f"the server on {server.host}:{server.port} answers with it"
        if time.monotonic() >= ends_s:
            break
        pause(_BETWEEN_S)
    now = f"version {found}" if found else "nothing"
    raise VerificationError(
        f"the server of the device serves {now}, and not version {active.version}: {_reason(server)}",
        hint="its log says more: journalctl -u tinsmith",
    )


def start_command(base: Path) -> str:
    """What starts the server on this device, as its setup has left it; empty where there is no such thing."""
    home, script = base.absolute(), base.absolute() / "serve"
    with contextlib.suppress(OSError, RuntimeError):  # a hint is not worth an update
        units = {"systemctl start": Path("/etc/systemd/system"), "systemctl --user start": Path.home() / _USERS_UNITS}
        for words, folder in units.items():
            # another folder of this device may have a server of its own
            if (unit := folder / _UNIT).is_file() and f"{home}/{SERVER_SETTINGS}" in unit.read_text(encoding="utf-8"):
                return f"{words} {_UNIT}"
    return shlex.quote(str(script)) if script.is_file() else ""


def _serves(server: _Server) -> str:
    """The version that it answers with; empty for none."""
    document = server.get("GET", f"/v2/models/{server.name}")
    versions = document.get("versions") if isinstance(document, dict) else None
    return str(versions[0]) if isinstance(versions, list) and versions else ""


def _reason(server: _Server) -> str:
    try:
        index = server.get("POST", "/v2/repository/index")
    except OSError as error:
        return str(error)
    models = index if isinstance(index, list) else []
    said = [str(model.get("reason", "")) for model in models if isinstance(model, dict)]
    return "; ".join(filter(None, said)) or "it does not say why"


def _server_of(path: Path) -> _Server | None:
    """From the settings; None where there are none, or where nobody knows the port."""
    if not path.is_file():
        return None
    settings = read_settings(path.read_text(encoding="utf-8"), of=str(path))
    if not settings.port:
        return None
    return _Server(
        host=_ANYWHERE.get(settings.host, settings.host),
        port=settings.port,
        name=settings.models[0].name,
        token="" if settings.tokens is None else _token(settings.tokens),
        certificate=settings.certificate,
    )


def _token(path: Path) -> str:
    """The first of the file that the server reads."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return next((line for line in lines if line and not line.startswith("#")), "")
