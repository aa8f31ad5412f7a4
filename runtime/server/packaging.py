"""A server as others start it: a systemd unit, or a Containerfile."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tinsmith.runtime._version import __version__
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.server.settings import ServerSettings

__all__ = ["containerfile", "settings_text", "unit"]

_SERVE = "tinsmith.runtime.server"
_HOME = PurePosixPath("/srv/tinsmith")
_STATE = PurePosixPath("/var/lib/tinsmith")
# Ports below this one need a right of their own.
_FREE_PORTS = 1024


def settings_text(settings: ServerSettings) -> str:
    """The settings as ``python -m tinsmith.runtime.server FILE`` reads them."""
    return json.dumps(settings.to_json(), indent=2) + "\n"


def unit(settings: ServerSettings) -> str:
    """A systemd unit of this very server: all in one file, under a user of its own that can write nothing else.

    The settings stand in the unit and reach the server on its standard input. Tokens and keys, which only their owner
    may read, are handed over by systemd as credentials; the audit log and captured samples go to the unit's own state
    folder, ``/var/lib/tinsmith``.
    """
    credentials = _secrets(settings)
    placed = _placed(
        settings,
        read=Path.absolute,
        secret=lambda path: Path("%d") / next(name for name, secret in credentials.items() if secret == path),
        written=lambda path: Path("%S/tinsmith") / path.name,
    )
    bound = "CAP_NET_BIND_SERVICE" if 0 < settings.port < _FREE_PORTS else ""
    lines = [
        "[Unit]",
        f"Description=tinsmith serves {', '.join(model.name for model in placed.models)}",
        "After=network.target",
        "",
        "[Service]",
        f"ExecStart={sys.executable} -m {_SERVE} -",
        "StandardInput=data",
        f"StandardInputText={_with_specifiers(json.dumps(placed.to_json()))}",
        *(f"LoadCredential={name}:{_escaped(str(path.absolute()))}" for name, path in credentials.items()),
        # what lies below /tmp is hidden by PrivateTmp
        *(f"BindReadOnlyPaths={_escaped(str(model.path.parent))}" for model in placed.models),
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "DynamicUser=yes",
        "StateDirectory=tinsmith",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "NoNewPrivileges=yes",
        "RestrictSUIDSGID=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        f"CapabilityBoundingSet={bound}",
        *([f"AmbientCapabilities={bound}"] if bound else []),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def containerfile(settings: ServerSettings) -> str:
    """A Containerfile of this very server; build it in a folder that holds the files which it copies.

    Inside a container every address is bound, so that the settings need tokens, TLS, or ``insecure``.

    Raises:
        UsageError: They have none of these, or two files of one name, of which the container would hold one.
    """
    placed = _placed(
        settings,
        read=lambda path: Path(_HOME / path.name),
        secret=lambda path: Path(_HOME / path.name),
        written=lambda path: Path(_STATE / path.name),
    )
    inside = dataclasses.replace(placed, host="0.0.0.0")  # noqa: S104 - the container is the border
    copied = _copied(settings)
    extras = "onnx,images" if any(path.suffix != ".tflite" for path in _files(settings)) else "images"
    probe = f"import socket; socket.create_connection(('127.0.0.1', {inside.port}), 2)"
    lines = [
        "FROM python:3.13-slim",
        f'RUN pip install --no-cache-dir "tinsmith[serve,{extras}]=={__version__}"',
        f"WORKDIR {_HOME}",
        # a file of tokens or keys is its owner's alone, and stays so
        f"COPY --chown=65532:65532 {json.dumps([*copied, f'{_HOME}/'])}",
        f"RUN printf %s {shlex.quote(json.dumps(inside.to_json()))} > serve.json",
        f"RUN mkdir -p {_STATE} && chown 65532:65532 {_STATE}",
        f"VOLUME {_STATE}",
        "USER 65532:65532",
        f"EXPOSE {inside.port}",
        f"HEALTHCHECK --interval=10s --timeout=3s CMD {json.dumps(['python', '-c', probe])}",
        "STOPSIGNAL SIGTERM",
        f"ENTRYPOINT {json.dumps(['python', '-m', _SERVE, 'serve.json'])}",
    ]
    return "\n".join(lines) + "\n"


def _copied(settings: ServerSettings) -> list[str]:
    """The names of the files that the server reads, which lie in one folder there."""
    by_name: dict[str, Path] = {}
    for path in _files(settings):
        other = by_name.setdefault(path.name, path)
        if other != path:
            raise UsageError(
                f"a container holds its files in one folder, and {other} and {path} would be one there",
                hint="rename one of them; its address stays as it was with NAME=PATH",
            )
    return sorted(by_name)


def _files(settings: ServerSettings) -> list[Path]:
    """What the server reads."""
    return [*(model.path for model in settings.models), *settings.trust, *_secrets(settings).values()]


def _secrets(settings: ServerSettings) -> dict[str, Path]:
    """What only its owner may read, by the name of the setting."""
    names = ("tokens", "certificate", "key", "decryption_key")
    found = {name: getattr(settings, name) for name in names}
    return {name: path for name, path in found.items() if path is not None}


def _placed(
    settings: ServerSettings,
    *,
    read: Callable[[Path], Path],
    secret: Callable[[Path], Path],
    written: Callable[[Path], Path],
) -> ServerSettings:
    """The same server with its files elsewhere."""
    kept = {name: secret(path) for name, path in _secrets(settings).items()}
    capture = settings.capture
    return dataclasses.replace(
        settings,
        models=tuple(dataclasses.replace(model, path=read(model.path)) for model in settings.models),
        trust=tuple(read(path) for path in settings.trust),
        tokens=kept.get("tokens"),
        certificate=kept.get("certificate"),
        key=kept.get("key"),
        decryption_key=kept.get("decryption_key"),
        audit=None if settings.audit is None else written(settings.audit),
        capture=None if capture is None else dataclasses.replace(capture, folder=written(capture.folder)),
    )


def _with_specifiers(document: str) -> str:
    """Escaped but for paths that begin with a specifier, as no path of the user's does: those are absolute."""
    escaped = _escaped(document)
    for specifier in ("%d", "%S"):
        escaped = escaped.replace(f'"%{specifier}/', f'"{specifier}/')
    return escaped


def _escaped(text: str) -> str:
    """For a line of a unit: ``%`` starts a specifier there, and a backslash an escape."""
    return text.replace("\\", "\\\\").replace("%", "%%")
