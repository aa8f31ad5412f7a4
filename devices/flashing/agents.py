"""Who answers for a device: its own agent, or for a phone this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tinsmith.devices.asking import Agent
from tinsmith.devices.placing import base_on
from tinsmith.devices.transports.addresses import AdbAddress, LocalAddress, parse_address

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

    from tinsmith.devices.asking import Asking
    from tinsmith.devices.device import Device
    from tinsmith.devices.transports.protocol import Running, Transport

__all__ = ["agent_of", "program_of"]

_LIMIT_S = 30.0
# A board behind adb that has Python and is not set up yet is no phone: it is told to be set up.
_HAS_PYTHON = '[ -x "$1/venv/bin/python" ] || command -v python3 > /dev/null'


def agent_of(device: Device, transport: Transport, *, bundle: Path | None = None) -> Asking:
    """Who answers for a device; on this machine its own Python runs the agent where the folder has no environment.

    Args:
        device: Which.
        transport: How it is reached; a device behind adb is asked at once whether it has Python.
        bundle: What is to be installed, which a phone can't read itself.

    Raises:
        DeviceError: It can't be reached.
    """
    address, base = parse_address(device.address), base_on(device)
    if isinstance(address, AdbAddress) and not _has_python(transport, base):
        from tinsmith.devices.flashing.phone import PhoneAgent

        return PhoneAgent(
            device=device.name, transport=transport, base=base,
            bundle=bundle, trust=device.trust, runner=device.runner,
        )  # fmt: skip
    return program_of(device, transport)


def program_of(device: Device, transport: Running, *, module: str = "tinsmith.runtime.agent") -> Agent:
    """A program of ours in a device's Python, which answers in the form of its agent."""
    python = sys.executable if isinstance(parse_address(device.address), LocalAddress) else ""
    return Agent(device=device.name, transport=transport, base=base_on(device), python=python, module=module)


def _has_python(transport: Running, base: PurePosixPath) -> bool:
    return transport.run(["sh", "-c", _HAS_PYTHON, "sh", str(base)], time_limit_s=_LIMIT_S).code == 0
