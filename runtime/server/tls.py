"""TLS for the listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.runtime.errors import HostError

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

__all__ = ["server_context"]


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What serves TLS 1.2 and 1.3 with a certificate.

    Args:
        certificate: PEM; the server's own first, then those between it and the root.
        key: PEM, without a passphrase.

    Raises:
        HostError: One of them can't be read, or they do not belong together.
    """
    import ssl

    for path in (certificate, key):
        _check_readable(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # without a function that refuses, a key with a passphrase would be asked for on the terminal
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise HostError(
            f"cannot serve TLS with {certificate} and {key}: {_reason(error)}",
            hint="give a certificate and the key that belongs to it, both as PEM, the key without a passphrase",
        ) from error
    return context


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}", hint="check the path, and who may read it") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()
