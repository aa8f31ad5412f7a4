"""Boards start, lose their power, start again, and leave nothing behind."""

import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tinsmith.devices.boards.board import write_board
from tinsmith.devices.boards.starting import boot, cut, find_board, stop_board
from tinsmith.runtime.errors import HostError, TinsmithError, UsageError

LIMIT_S = 30.0
KINDS = ["proot", "ssh", "adb"]
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def said(board, line):
    with contextlib.closing(board.open()) as transport:
        ran = transport.run(["sh", "-c", line], time_limit_s=LIMIT_S)
        assert ran.code == 0, ran
        return ran.stdout.decode().strip()


def traces(board):
    """What of this machine is a board's: others may come and go meanwhile."""
    links = [p.name for p in Path("/sys/class/net").iterdir() if p.name == board.link]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(board.folder) in line]
    groups = [p.name for p in Path("/sys/fs/cgroup").glob("*/tinsmith*") if p.name == board.link]
    return [*links, *mounts, *groups, *naming(board.name)]


def naming(name):
    """Processes that have it among their arguments."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if name.encode() in cmdline.read_bytes():
                found.append(cmdline)
    return found


@pytest.mark.parametrize("kind", KINDS)
class TestEachKind:
    def test_nothing_is_left_behind(self, start, kind):
        board = start(f"gone-{kind}", kind)
        said(board, "setsid sleep 600 > /dev/null 2>&1 < /dev/null &")
        processes = {board.process, *board.process.descendants()}
        assert len(processes) > 2
        assert traces(board)
        stop_board(board.name)

        assert not [process for process in processes if process.lives]
        assert traces(board) == []
        assert not board.folder.exists()
        assert find_board(board.name) is None

    def test_a_cut_of_the_power_ends_programs_and_keeps_the_disk(self, start, kind):
        board = start(f"cut-{kind}", kind)
        first = said(board, f"echo kept > /data/x; cat {BOOT_ID}; setsid sleep 600 > /dev/null 2>&1 < /dev/null &")
        programs = board.process.descendants()
        cut(board)
        assert not board.runs
        assert not [program for program in programs if program.lives]
        with pytest.raises(TinsmithError):
            said(board, "true")

        again = boot(board)
        assert (again.address, again.host_key) == (board.address, board.host_key)
        second = said(again, f"cat /data/x {BOOT_ID}").split()
        assert second[0] == "kept"
        assert second[1] != first
        assert find_board(board.name) == again

    def test_one_that_died_is_started_anew(self, start, kind):
        board = start(f"dead-{kind}", kind)
        said(board, "echo old > /data/x")
        os.kill(board.process.number, signal.SIGKILL)
        board.process.wait(LIMIT_S)
        again = start(board.name, kind)

        assert said(again, "test -e /data/x || echo new") == "new"

    def test_one_that_is_on_is_not_started_again(self, start, kind):
        board = start(f"on-{kind}", kind)
        with pytest.raises(UsageError, match=f"on-{kind} is on, at ") as caught:
            start(board.name, kind)

        assert f"devices down on-{kind}" in caught.value.hint
        assert said(board, "echo on") == "on"


def test_what_is_left_of_an_old_board_does_no_harm_to_one_that_is_on(start):
    board = start("alive", "ssh")
    folder = board.folder.with_name("stale")
    folder.mkdir()
    # as after a restart of this machine: number and cable are another's now
    process = replace(board.process, began="another-boot 1")
    write_board(replace(board, name="stale", folder=folder, process=process))
    assert stop_board("stale")

    assert not folder.exists()
    assert said(board, "echo alive") == "alive"


def test_a_board_that_is_on_is_rebooted(start):
    board = start("reboot", "ssh")
    first = said(board, f"cat {BOOT_ID}; echo x > /tmp/x")
    again = boot(board)

    assert not board.runs
    assert said(again, f"cat {BOOT_ID}; ls /tmp") != first
    assert said(again, "ls /tmp") == ""


def test_a_start_that_fails_says_why_and_leaves_nothing(start, monkeypatch):
    monkeypatch.setattr("tinsmith.devices.boards.ssh._CONFIG", "NoSuchOption yes\n")
    with pytest.raises(HostError, match=r"did not start: .*(NoSuchOption|terminating)"):
        start("broken-board", "ssh")

    assert find_board("broken-board") is None
    assert naming("broken-board") == []


def test_boards_have_addresses_of_their_own(start):
    several = [start(f"several-{n}", "ssh") for n in range(3)]

    assert len({board.address.partition("?")[0] for board in several}) == 3
    assert [said(board, "hostname; cat /proc/sys/kernel/hostname").split() for board in several] == [
        [board.name, board.name] for board in several
    ]


def test_the_clock_since_boot_begins_with_the_boot(start):
    board = start("clock", "ssh")

    assert float(said(board, "cut -d' ' -f1 /proc/uptime")) < 60
    assert float(said(board, "python3 -c 'import time; print(time.clock_gettime(time.CLOCK_BOOTTIME))'")) < 60
