"""A hawkBit server over HTTP: documents of bounded size, and artifacts from the byte where the last try ended.

One host gets the requests and the token: the one of the settings. A link to another one is refused; but an artifact may
lie elsewhere (object stores and mirrors), where the server's own document says so, over https, and without the token:
what comes from there is held to the sha256 of that document. Redirects are never followed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.parse
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.agent.ddi.bodies import read_artifact, read_bounded
from tinsmith.runtime.errors import DataError, DeviceError, LinkLostError, UnreachableError, UsageError, first_line
from tinsmith.runtime.fields import Fields, fields_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from tinsmith.runtime.agent.ddi.bodies import Body
    from tinsmith.runtime.agent.ddi.settings import HawkbitSettings

__all__ = ["HawkbitServer", "RefusedError"]

_MOST_DOCUMENT_BYTES = 1 << 20
_MOST_REASON_BYTES = 1 << 14
_MOST_RETRY_AFTER_S = 3600.0
_ACCEPT = "application/hal+json, application/json;q=0.9, */*;q=0.1"
_HINTS = {
    401: "check the token in the file that hawkbit.json names, and that the server takes this kind",
    403: "check the token in the file that hawkbit.json names, and that the server takes this kind",
    404: "check tenant and controller_id in hawkbit.json",
    429: "polling goes on more slowly",
}


class RefusedError(DeviceError):
    """The server answered, and not with what was asked for.

    Attributes:
        status: Of HTTP.
        retry_after_s: How long the server wants to be left alone, up to an hour; None where it does not say.
    """

    def __init__(self, said: str, *, status: int, retry_after_s: float | None) -> None:
        super().__init__(said, hint=_HINTS.get(status, "the log of the server says why"))
        self.status = status
        self.retry_after_s = retry_after_s


class HawkbitServer:
    """Takes links as the server's documents give them.

    Every method raises ``UnreachableError`` where nobody answers or the token can't be read, ``RefusedError`` for an
    answer that is none of success, and ``DeviceError`` for a link that leads elsewhere.

    Args:
        settings: Where it is.
        timeout_s: Of connecting, and of each wait for bytes.
    """

    def __init__(self, settings: HawkbitSettings, *, timeout_s: float = 20.0) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._home = _origin(urllib.parse.urlsplit(settings.url))
        self._open: http.client.HTTPConnection | None = None
        self._hung_up = False

    def get(self, link: str, *, of: str) -> Fields:
        """A document; raises ``DataError`` where it is none. ``of`` is what to call it."""
        with self._asked("GET", self._own(link)) as response:
            return fields_of(read_bounded(response, _MOST_DOCUMENT_BYTES), of=of)

    def put(self, link: str, document: Mapping[str, Any]) -> None:
        """Replace what lies at a link."""
        self._tell("PUT", link, document)

    def post(self, link: str, document: Mapping[str, Any]) -> None:
        """Add to what lies at a link."""
        self._tell("POST", link, document)

    @contextlib.contextmanager
    def artifact(self, link: str, *, offset: int) -> Iterator[Body]:
        """Download from a byte on, where the server can; from the start where it can't.

        Raises:
            DataError: It lies on another host, and not over https.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._asked("GET", self._any(link), headers=headers) as response:
            yield read_artifact(response, offset=offset)

    def hang_up(self) -> None:
        """Cut the request that is under way, if one is, and begin no other; called by another thread."""
        self._hung_up = True
        connection = self._open
        wire = None if connection is None else connection.sock
        if wire is not None:
            with contextlib.suppress(OSError):
                # not the method of a TLS socket, which would go on in the clear
                socket.socket.shutdown(wire, socket.SHUT_RDWR)

    def _tell(self, method: str, link: str, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode()
        with self._asked(method, self._own(link), headers={"Content-Type": "application/json"}, body=body) as response:
            read_bounded(response, _MOST_DOCUMENT_BYTES)

    def _own(self, link: str) -> urllib.parse.SplitResult:
        parts = self._split(link)
        if _origin(parts) != self._home:
            raise DeviceError(
                f"hawkBit at {self._settings.url} sends a link to another host: {parts.scheme}://{parts.netloc}",
                hint="behind a proxy it must be told its address: server.forward-headers-strategy of the server",
            )
        return parts

    def _any(self, link: str) -> urllib.parse.SplitResult:
        parts = self._split(link)
        if parts.scheme == "https" or _origin(parts) == self._home:
            return parts
        raise DataError(
            f"the artifact lies at {parts.scheme}://{parts.netloc}, and another host is asked over https only",
            hint="set hawkbit.artifact.url.protocols on the server",
        )

    def _split(self, link: str) -> urllib.parse.SplitResult:
        try:
            parts = urllib.parse.urlsplit(urllib.parse.urljoin(self._settings.url + "/", link))
            _origin(parts)
        except ValueError:
            raise DataError(
                f"hawkBit sends a link that is none: {link[:200]!r}", hint="ask its administrator"
            ) from None
        return parts

    @contextlib.contextmanager
    def _asked(
        self,
        method: str,
        where: urllib.parse.SplitResult,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Iterator[http.client.HTTPResponse]:
        if self._hung_up:
            raise UnreachableError("hawkBit is asked no more: the client was told to end", hint="start it again")
        try:
            sent = {**self._headers(where), **(headers or {})}
            connection = self._connection(where)
        except UsageError as error:  # a token may come back; no action fails for it
            raise UnreachableError(error.message, hint=error.hint) from error
        target = urllib.parse.urlunsplit(("", "", where.path or "/", where.query, ""))
        self._open = connection
        try:
            try:
                connection.request(method, target, body=body or None, headers=sent)
                response = connection.getresponse()
            except (OSError, UnicodeError, http.client.HTTPException) as error:
                raise self._unreachable(where, error) from error
            _refuse_unless_done(response, f"{method} {where.path}")
            yield response
        finally:
            self._open = None
            connection.close()

    def _headers(self, where: urllib.parse.SplitResult) -> dict[str, str]:
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity", "Connection": "close"}
        token = self._settings.token
        if token is not None and _origin(where) == self._home:
            headers["Authorization"] = token.header()
        return headers

    def _connection(self, where: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        _, host, port = _origin(where)
        if where.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls())
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def _tls(self) -> ssl.SSLContext:
        import ssl

        ca_file = self._settings.ca_file
        try:
            return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"cannot read the certificates {ca_file}: {first_line(error)}", hint="check ca_file"
            ) from error

    def _unreachable(self, where: urllib.parse.SplitResult, error: Exception) -> UnreachableError:
        import ssl

        said = f"cannot reach hawkBit at {where.scheme}://{where.netloc}: {first_line(error)}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return UnreachableError(said, hint="name the certificate that signed its own as ca_file in hawkbit.json")
        return UnreachableError(said, hint="check url in hawkbit.json, and the network of the device")


def _origin(parts: urllib.parse.SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port; raises ``ValueError`` where there are none."""
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    if usual is None or not parts.hostname:
        raise ValueError(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or usual


def _refuse_unless_done(response: http.client.HTTPResponse, asked: str) -> None:
    if response.status in (200, 201, 202, 204, 206):
        return
    with contextlib.suppress(LinkLostError, DataError):
        reason = fields_of(read_bounded(response, _MOST_REASON_BYTES), of="the reason").text("message", default="-")
        asked = f"{asked} ({reason[:200]})"
    retry_after = response.headers.get("Retry-After", "")
    raise RefusedError(
        f"hawkBit answered {response.status} to {asked}",
        status=response.status,
        retry_after_s=min(float(retry_after), _MOST_RETRY_AFTER_S) if retry_after.isdecimal() else None,
    )
