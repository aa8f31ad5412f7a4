"""Faults of a board do what they say, and can be undone."""

import contextlib
import time
from pathlib import PurePosixPath

import pytest

from tinsmith.devices.boards import faults
from tinsmith.devices.transports.addresses import parse_address
from tinsmith.devices.transports.ssh import SshTransport
from tinsmith.devices.transports.ssh_connection import SshSettings
from tinsmith.runtime.errors import DeviceError, NoRoomError

LIMIT_S = 30.0


def reached(board, settings):
    address = parse_address(f"{board.address}&hostkey={board.host_key}")
    return contextlib.closing(SshTransport(address, settings))


@pytest.fixture
def transport(ssh_board):
    """One that waits for a board whose processor is emulated, and for a slow link."""
    with reached(ssh_board, SshSettings()) as transport:
        yield transport


def runs(transport, line):
    return transport.run(["sh", "-c", line], time_limit_s=LIMIT_S)


def test_a_cable_that_is_out_loses_the_board_until_it_is_in(ssh_board):
    with reached(ssh_board, SshSettings(keepalive_s=0.3)) as transport:
        assert runs(transport, "true").code == 0
        faults.link_down(ssh_board)
        try:
            with pytest.raises(DeviceError):
                transport.run(["true"], time_limit_s=2.0)
        finally:
            faults.link_up(ssh_board)

        assert runs(transport, "true").code == 0


def test_a_slow_link_takes_its_time(ssh_board, transport, tmp_path):
    (tmp_path / "x").write_bytes(bytes(200_000))
    runs(transport, "true")
    faults.slow_link(ssh_board, bits_per_s=2_000_000)
    try:
        began_s = time.monotonic()
        transport.put(tmp_path / "x", PurePosixPath("/root/slow"), time_limit_s=LIMIT_S)
        slow_s = time.monotonic() - began_s
    finally:
        faults.fast_link(ssh_board)

    # 200 kB are 0.8 s at that rate, less what the bucket and the buffers hold
    assert slow_s > 0.3


def test_a_small_disk_is_full(ssh_board, transport, tmp_path):
    (tmp_path / "x").write_bytes(bytes(300_000))
    faults.small_disk(ssh_board, PurePosixPath("/data/small"), size_bytes=100_000)
    try:
        with pytest.raises(NoRoomError):
            transport.put(tmp_path / "x", PurePosixPath("/data/small/x"), time_limit_s=LIMIT_S)
    finally:
        faults.remove_disk(ssh_board, PurePosixPath("/data/small"))

    assert runs(transport, "ls /data/small").stdout == b""


def test_a_disk_that_is_read_only_takes_nothing(ssh_board, transport):
    faults.read_only(ssh_board)
    try:
        assert b"Read-only file system" in runs(transport, "touch /root/x").stderr
    finally:
        faults.writable(ssh_board)

    assert runs(transport, "touch /root/x").code == 0


def test_a_program_that_takes_too_much_memory_is_killed(ssh_board, transport):
    hungry = "python3 -c 'bytearray(300_000_000)'"
    faults.limit_memory(ssh_board, limit_bytes=100_000_000)
    try:
        transport.close()
        assert runs(transport, hungry).code == 137
        assert runs(transport, "python3 -c 'print(1)'").code == 0
    finally:
        faults.limit_memory(ssh_board, limit_bytes=None)

    assert runs(transport, hungry).code == 0


def test_a_board_without_a_cable_has_no_such_faults(proot_board):
    with pytest.raises(ValueError, match="no cable"):
        faults.link_down(proot_board)
