"""What keeps a server running on a board: its settings, the units of systemd, and a script for boards without it.

The server waits where nothing is flashed yet, and follows what the agent activates. An update on trial is taken back by
the agent when its time is over; where the host has gone away, nobody would ask the agent, so a timer does. Before
anything is served after a start, the agent is asked to end what the last one has left.

Units: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.agent.board import SERVER_SETTINGS
from tinsmith.runtime.agent.requests import Boot, Status, request_json
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.server.settings import read_settings

if TYPE_CHECKING:
    from tinsmith.devices.setup.there import There

__all__ = ["SERVER_UNIT", "TIMER_UNIT", "PlacedFile", "script_of", "settings_of", "units_of"]

SERVER_UNIT = "tinsmith.service"
_SETTLE_UNIT = "tinsmith-settle.service"
TIMER_UNIT = "tinsmith-settle.timer"
_SETTLE_S = 30
# As ``state.json`` says that an update is on trial; a look at it costs no Python.
_ON_TRIAL = '"trial": {'
_HOMES = ("/home", "/root", "/run/user")
_KEY = "decryption.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """A file that a board gets.

    Attributes:
        path: Absolute, or below the base folder.
        text: What it holds.
        mode: Its permissions.
    """

    path: str
    text: str
    mode: int = 0o644


def settings_of(there: There, keys: tuple[str, ...], *, by_systemd: bool) -> PlacedFile:
    """The server's settings: what its owner has written there stays, but for what is ours to say.

    Args:
        there: The board.
        keys: Names of the files in ``trusted/``.
        by_systemd: Whether a unit starts the server.

    Raises:
        UsageError: What is there can't be.
    """
    of = f"{there.base}/{SERVER_SETTINGS}"
    before: dict[str, Any] = {"host": "127.0.0.1", "port": 8080}
    if there.settings:
        read_settings(there.settings, of=of)
        before = json.loads(there.settings)
    ours: dict[str, Any] = {
        "models": [{"name": "app", "path": f"{there.base}/current/app.tin"}],
        "follow": True,
        "trust": [f"{there.base}/trusted/{key}" for key in keys],
    }
    if there.decryption_key:
        ours["decryption_key"] = _key_path(there, by_systemd=by_systemd)
    text = json.dumps({**before, **ours}, indent=2) + "\n"
    read_settings(text, of=of)
    return PlacedFile(path=SERVER_SETTINGS, text=text)


def units_of(there: There) -> tuple[PlacedFile, ...]:
    """The units of a board: the system's where root logs in, else the user's."""
    folder = PurePosixPath("/etc/systemd/system") if _is_root(there) else _users_units(there)
    units = {SERVER_UNIT: _server_unit(there), _SETTLE_UNIT: _settle_unit(there), TIMER_UNIT: _timer_unit()}
    return tuple(PlacedFile(path=str(folder / name), text=text) for name, text in units.items())


def script_of(there: There) -> PlacedFile:
    """``serve``: what the units do, for a board without systemd; it runs until it is told to stop."""
    text = f"""#!/bin/sh
# Made by `tinsmith devices setup`: serves what is active, for boards without systemd. Start it when the board starts.
base={shlex.quote(there.base)}
cd / || exit
ask() {{ printf %s "$1" | "$base/venv/bin/python" -m tinsmith.runtime.agent "$base" >&2; }}
# what a crash or a reboot has left is brought to an end before anything is served
ask {shlex.quote(_asked(Boot()))}
"$base/venv/bin/python" -m tinsmith.runtime.server "$base/server.json" &
server=$!
trap 'kill "$server"' TERM INT
# an update on trial that nobody commits is taken back
while sleep "${{TINSMITH_SETTLE_S:-{_SETTLE_S}}}" && kill -0 "$server" 2>/dev/null; do
  grep -qs {shlex.quote(_ON_TRIAL)} "$base/state.json" && ask {shlex.quote(_asked(Status()))}
done &
wait "$server"
code=$?
# a signal ends the first wait, and not yet the server
kill -0 "$server" 2>/dev/null && {{ wait "$server"; code=$?; }}
exit "$code"
"""
    return PlacedFile(path="serve", text=text, mode=0o755)


def _server_unit(there: There) -> str:
    base = _path(there.base)
    python = f'"{base}/venv/bin/python"'
    alone = [] if not _is_root(there) else _alone(there)
    privileged = "+" if _is_root(there) else ""
    return _unit_text(
        "[Unit]",
        f"Description=tinsmith serves what is active in {base}",
        "After=network.target",
        "",
        "[Service]",
        # a damaged state, or a disk that can't be written, is no reason to serve nothing
        f'ExecStartPre=-{privileged}{python} -m tinsmith.runtime.agent "{base}"',
        *_standard_input(_asked(Boot())),
        f'ExecStart={python} -m tinsmith.runtime.server "{base}/server.json"',
        "ExecReload=/bin/kill -HUP $MAINPID",
        "WorkingDirectory=/",
        "Restart=on-failure",
        "RestartSec=2",
        "StateDirectory=tinsmith",
        "NoNewPrivileges=yes",
        *alone,
        "",
        "[Install]",
        f"WantedBy={'multi-user' if _is_root(there) else 'default'}.target",
    )


def _alone(there: There) -> list[str]:
    """A user of its own, who sees of the homes nothing but the base folder, and can write nothing but its state."""
    base = _path(there.base)
    # what is bound is bound for ExecStartPre as well, which must write there; what is read-only is so for the server
    hidden = [f'BindPaths="{base}"', f'ReadOnlyPaths="{base}"']
    if there.prefix.startswith(_HOMES):
        hidden.append(f'BindReadOnlyPaths="{_path(there.prefix)}"')
    if there.decryption_key:
        hidden.append(f"LoadCredential={_KEY}:{base}/{_KEY}")
    return [
        "DynamicUser=yes",
        *hidden,
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "ProtectHome=tmpfs",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "RestrictSUIDSGID=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "CapabilityBoundingSet=",
    ]


def _settle_unit(there: There) -> str:
    base = _path(there.base)
    alone = ["ProtectSystem=strict", f'ReadWritePaths="{base}"', "PrivateTmp=yes"] if _is_root(there) else []
    look = shlex.join(["grep", "-qs", _ON_TRIAL, f"{there.base}/state.json"])
    return _unit_text(
        "[Unit]",
        f"Description=tinsmith takes back an update in {base} that nobody commits",
        "",
        "[Service]",
        "Type=oneshot",
        f"ExecCondition=/bin/sh -c {_word(look)}",
        f'ExecStart="{base}/venv/bin/python" -m tinsmith.runtime.agent "{base}"',
        *_standard_input(_asked(Status())),
        "WorkingDirectory=/",
        "NoNewPrivileges=yes",
        # systemd's own word of each look would fill the journal
        "SyslogLevel=notice",
        "LogLevelMax=notice",
        *alone,
    )


def _timer_unit() -> str:
    return _unit_text(
        "[Unit]",
        "Description=tinsmith looks after updates on trial",
        "",
        "[Timer]",
        f"OnActiveSec={_SETTLE_S}",
        f"OnUnitInactiveSec={_SETTLE_S}",
        "AccuracySec=5",
        "",
        "[Install]",
        "WantedBy=timers.target",
    )


def _unit_text(*lines: str) -> str:
    return "\n".join(["# Made by `tinsmith devices setup`; changes of yours go into `systemctl edit`.", *lines, ""])


def _standard_input(text: str) -> list[str]:
    return ["StandardInput=data", f"StandardInputText={text}"]


def _asked(request: Boot | Status) -> str:
    return json.dumps(request_json(request))


def _key_path(there: There, *, by_systemd: bool) -> str:
    """A user of its own can't read the key of root's: systemd hands it over, from version 247 on."""
    own = by_systemd and _is_root(there)
    return f"/run/credentials/{SERVER_UNIT}/{_KEY}" if own else f"{there.base}/{_KEY}"


def _users_units(there: There) -> PurePosixPath:
    return PurePosixPath(there.home, ".config/systemd/user")


def _is_root(there: There) -> bool:
    return there.user == "root"


def _word(text: str) -> str:
    """One word of a command line in a unit."""
    return '"' + text.replace("%", "%%").replace('"', '\\"').replace("$", "$$") + '"'


def _path(text: str) -> str:
    """A path in a unit; systemd takes no program whose name holds quotes or backslashes, however they are escaped."""
    if any(ord(sign) < 32 or sign in "\"'\\$" for sign in text):
        raise UsageError(f"{text!r} can't stand in a unit of systemd", hint="name another folder with --base")
    return text.replace("%", "%%")
