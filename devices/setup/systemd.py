"""Has systemd on a board keep the server running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinsmith.devices.setup.serving import SERVER_UNIT, TIMER_UNIT
from tinsmith.devices.transports.steps import Step

if TYPE_CHECKING:
    from tinsmith.devices.transports.protocol import Ran, Running, Transport
    from tinsmith.runtime.errors import DeviceError

__all__ = ["check_running", "keep_running", "refuse_other"]

_LIMIT_S = 60.0
# $user is empty for the system's services; programs over SSH may lack the variable by which systemctl finds the user's
_SYSTEMCTL = """
[ -d /run/systemd/system ] || exit 3
user=
if [ "$(id -u)" != 0 ]; then
  user=--user
  XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
  export XDG_RUNTIME_DIR
fi
"""
_KEEP = """
systemctl $user daemon-reload && systemctl $user enable -q "$1" "$2" && systemctl $user start "$2" || exit 1
systemctl $user reset-failed "$1" 2>/dev/null
exec systemctl $user "$3" "$1"
"""


def keep_running(transport: Transport, *, restart: bool) -> None:
    """Start the server now and at each boot.

    Args:
        transport: How the board is reached; its units are in place.
        restart: Whether one that runs already is to be started anew.

    Raises:
        DeviceError: systemd refused.
    """
    ran = _run(transport, _KEEP, SERVER_UNIT, TIMER_UNIT, "restart" if restart else "start")
    if ran.code:
        raise _refused(ran, transport)


def check_running(transport: Transport) -> None:
    """Hold systemd to it: the server has not ended again.

    Raises:
        DeviceError: It has.
    """
    ran = _run(transport, 'exec systemctl $user is-active "$1"', SERVER_UNIT)
    if ran.code:
        raise _refused(ran, transport)


def refuse_other(transport: Transport, unit: str, base: str) -> None:
    """One board has one server: refuse to take the unit away from another base folder.

    Raises:
        DeviceError: The unit is there, and is not of this folder.
    """
    there = transport.run(["cat", unit], time_limit_s=_LIMIT_S)
    if there.code == 0 and f'{base}/server.json"' not in there.stdout.decode(errors="replace"):
        hint = f"set it up there with --base, take the unit away, or set this one up with --no-service: cat {unit}"
        raise _step(transport).failed(f"{SERVER_UNIT} serves another folder there", hint=hint)


def _run(transport: Running, script: str, *arguments: str) -> Ran:
    return transport.run(["sh", "-c", _SYSTEMCTL + script, "sh", *arguments], time_limit_s=_LIMIT_S)


def _refused(ran: Ran, transport: Transport) -> DeviceError:
    lines = (ran.stderr or ran.stdout).decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else f"systemctl ended with exit code {ran.code}"
    hint = f"on the device: journalctl -u {SERVER_UNIT} -n 20; of a user who is not root: journalctl --user -u ..."
    return _step(transport).failed(said, hint=hint)


def _step(transport: Transport) -> Step:
    return Step(address=transport.address, doing="setting up: starting the server")
