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


def settings_text(settings: ServerSettings) -> str:
    """The settings as ``python -m tinsmith.runtime.server FILE`` reads them."""
    return json.dumps(settings.to_json(), indent=2) + "\n"


def unit(settings: ServerSettings) -> str:
    """A systemd unit of this very server: all in one file, under a user of its own that can write nothing else.

    The settings stand in the unit and reach the server on its standard input. Paths are made absolute, and what is
    written (the audit log, captured samples) must lie where ``ReadWritePaths`` says.
    """
    placed = _placed(settings, read=Path.absolute, written=Path.absolute)
    written = [path.parent for path in (placed.audit,) if path] + ([placed.capture.folder] if placed.capture else [])
    lines = [
        "[Unit]",
        f"Description=tinsmith serves {', '.join(model.name for model in placed.models)}",
        "After=network.target",
        "",
        "[Service]",
        f"ExecStart={sys.executable} -m {_SERVE} -",
        "StandardInput=data",
        f"StandardInputText={_escaped(json.dumps(placed.to_json()))}",
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
        "CapabilityBoundingSet=",
        *(f"ReadWritePaths={_escaped(str(path))}" for path in written),
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
    placed = _placed(settings, read=lambda path: Path(_HOME / path.name), written=lambda path: Path(_STATE / path.name))
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
    single = (settings.tokens, settings.certificate, settings.key, settings.decryption_key)
    return [*(model.path for model in settings.models), *settings.trust, *(path for path in single if path)]


def _placed(
    settings: ServerSettings, *, read: Callable[[Path], Path], written: Callable[[Path], Path]
) -> ServerSettings:
    """The same server with its files elsewhere."""

    def moved(path: Path | None) -> Path | None:
        return None if path is None else read(path)

    capture = settings.capture
    return dataclasses.replace(
        settings,
        models=tuple(dataclasses.replace(model, path=read(model.path)) for model in settings.models),
        trust=tuple(read(path) for path in settings.trust),
        tokens=moved(settings.tokens),
        certificate=moved(settings.certificate),
        key=moved(settings.key),
        decryption_key=moved(settings.decryption_key),
        audit=None if settings.audit is None else written(settings.audit),
        capture=None if capture is None else dataclasses.replace(capture, folder=written(capture.folder)),
    )


def _escaped(text: str) -> str:
    """For a line of a unit: ``%`` starts a specifier there, and a backslash an escape."""
    return text.replace("\\", "\\\\").replace("%", "%%")
