"""Asks a running server how its models are doing, on the standard library's HTTP client."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import DeviceError, UsageError, first_line
from tinsmith.runtime.monitor.document import is_monitor_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.client import HTTPMessage
    from pathlib import Path
    from typing import IO

__all__ = ["MonitorAddress", "ServerClient", "look_at", "read_token"]

_MOST_BYTES = 16 << 20
_REFUSED = frozenset({401, 403})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorAddress:
    """Where the monitor of one served model answers.

    Attributes:
        url: Of the server, such as ``http://127.0.0.1:8080``.
        model: As the server names it; empty for the only one that it has.
        token_file: Its first token is sent; None for none.
        ca_file: Certificates to trust instead of the system's; None for those.
        timeout_s: Of a request.
    """

    url: str
    model: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 10.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for one server, and goes to no other."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002 - urllib's signature
        fp: IO[bytes],  # noqa: ARG002 - urllib's signature
        code: int,  # noqa: ARG002 - urllib's signature
        msg: str,  # noqa: ARG002 - urllib's signature
        headers: HTTPMessage,  # noqa: ARG002 - urllib's signature
        newurl: str,  # noqa: ARG002 - urllib's signature
    ) -> None:
        return None


class ServerClient:
    """A server of the Open Inference Protocol.

    Args:
        url: Such as ``http://127.0.0.1:8080``.
        token: Sent as bearer token; empty for none. Over plain HTTP only to this machine.
        ca_file: Certificates to trust instead of the system's; None for those.
        timeout_s: Of a request.

    Raises:
        UsageError: The address is none, or would show the token to the network.
    """

    def __init__(self, url: str, *, token: str = "", ca_file: Path | None = None, timeout_s: float = 10.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"{url} is no address of a server", hint="give one like http://127.0.0.1:8080")
        if token and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise UsageError(
                f"the token would cross the network in the open to {parts.hostname}", hint="use https, or no token"
            )
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        # what HTTP_PROXY says is for the world outside, and would get the token
        handlers = [urllib.request.ProxyHandler({}), _NoRedirect(), _tls(ca_file)]
        self._opener = urllib.request.build_opener(*handlers)

    def monitor(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The monitor documents of models, in the order of their names.

        A model that does not serve has ``model``, ``version``, ``state`` and ``reason`` instead, and is not ``ok``.

        Args:
            names: Which models; all when empty.

        Raises:
            DeviceError: The server can't be reached, or does not answer as one.
            UsageError: It wants a token, or has no such model.
        """
        index = self._index()
        unknown = sorted(set(names) - {state["name"] for state in index})
        if unknown:
            known = ", ".join(state["name"] for state in index) or "none"
            raise UsageError(f"{self.url} has no model {unknown[0]!r}", hint=f"it has: {known}")
        return [self._described(state) for state in index if not names or state["name"] in names]

    def _index(self) -> list[dict[str, Any]]:
        found = self._ask("/v2/repository/index", body=b"{}")
        if not isinstance(found, list) or not all(
            isinstance(state, dict) and isinstance(state.get("name"), str) for state in found
        ):
            raise self._no_server()
        return sorted(found, key=lambda state: str(state["name"]))

    def _described(self, state: dict[str, Any]) -> dict[str, Any]:
        if state.get("state") == "READY":
            path = f"/v2/models/{urllib.parse.quote(state['name'], safe='')}/monitor"
            document = self._ask(path)
            if not is_monitor_document(document):
                raise self._no_server()
            return dict(document)
        told = {key: str(state.get(key, "")) for key in ("version", "state", "reason")}
        return {"model": state["name"], **told, "ok": False}

    def _ask(self, path: str, *, body: bytes | None = None) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self.url + path, data=body, headers=headers)  # noqa: S310 - scheme was checked
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return json.loads(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from error
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise self._unreachable(error) from error

    def _refused(self, error: urllib.error.HTTPError) -> DeviceError | UsageError:
        if error.code in _REFUSED:
            return UsageError(f"{self.url} wants another token, or one at all", hint="name its file with --token-file")
        return DeviceError(
            f"{self.url} answered {error.code} for {urllib.parse.urlsplit(error.url).path}",
            hint="its log says why; `tinsmith serve` serves a monitor",
        )

    def _unreachable(self, error: Exception) -> DeviceError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            hint = "name the certificate that signed its own with --ca-file"
        elif isinstance(error, ValueError):
            return self._no_server()
        else:
            hint = "check its host and port, and that it runs: tinsmith serve app.tin"
        said = first_line(reason) if isinstance(reason, BaseException) else str(reason)
        return DeviceError(f"cannot reach {self.url}: {said}", hint=hint)

    def _no_server(self) -> DeviceError:
        return DeviceError(f"{self.url} does not answer as a server of tinsmith's", hint="check its host and port")


def _tls(ca_file: Path | None) -> urllib.request.HTTPSHandler:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"cannot read the certificates {ca_file}: {first_line(error)}", hint="check --ca-file"
        ) from error
    return urllib.request.HTTPSHandler(context=context)


def look_at(address: MonitorAddress) -> dict[str, Any]:
    """The monitor document of one served model; see ``ServerClient.monitor``.

    Raises:
        DeviceError: The server can't be reached, or does not answer as one.
        UsageError: It wants a token, has no such model, or has several and none was named.
    """
    token = "" if address.token_file is None else read_token(address.token_file)
    client = ServerClient(address.url, token=token, ca_file=address.ca_file, timeout_s=address.timeout_s)
    found = client.monitor([address.model] if address.model else [])
    if len(found) != 1:
        names = ", ".join(one["model"] for one in found) or "none"
        raise UsageError(f"{address.url} serves {len(found)} models", hint=f"name the one that is meant: {names}")
    return found[0]


def read_token(path: Path) -> str:
    """The first token of a file like the server's: one a line, without blank ones and those that start with ``#``.

    Raises:
        UsageError: It can't be read, or holds none.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the tokens {path}: {first_line(error)}", hint="check --token-file") from error
    for line in lines:
        if line and not line.startswith("#"):
            return line
    raise UsageError(f"{path} holds no token", hint="write one a line")
