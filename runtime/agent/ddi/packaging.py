"""The client as systemd starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePath

__all__ = ["UNIT_NAME", "unit"]

UNIT_NAME = "tinsmith-hawkbit.service"


def unit(base: PurePath, *, python: PurePath, wanted_by: str = "multi-user.target") -> str:
    """The text of ``tinsmith-hawkbit.service``, for the system's systemd or a user's.

    It starts once ``BASE/hawkbit.json`` is there, and not again where that file is wrong. Only the client itself is
    asked to end: the child process that tries a bundle would die of it, and the bundle would be blamed.

    Args:
        base: The folder of the board, absolute.
        python: That tinsmith's agent runs on, absolute.
        wanted_by: ``default.target`` for a user's systemd.
    """
    lines = [
        "[Unit]",
        "Description=tinsmith takes updates from hawkBit",
        "Wants=network-online.target",
        "After=network-online.target tinsmith.service",
        f"ConditionPathExists={_escaped(base / 'hawkbit.json')}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        f"ExecStart={_quoted(python)} -m tinsmith.runtime.agent.ddi {_quoted(base)}",
        "KillMode=mixed",
        "TimeoutStopSec=120",
        "Restart=on-failure",
        "RestartSec=30",
        "RestartPreventExitStatus=2",
        "Nice=10",
        "NoNewPrivileges=yes",
        "RestrictSUIDSGID=yes",
        "",
        "[Install]",
        f"WantedBy={wanted_by}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(path: PurePath) -> str:
    """``%`` starts a specifier in a unit, and a backslash an escape."""
    return str(path).replace("\\", "\\\\").replace("%", "%%")


def _quoted(path: PurePath) -> str:
    """``$`` starts a variable in a command line."""
    return '"' + _escaped(path).replace('"', '\\"').replace("$", "$$") + '"'
