"""A cut of the power of a whole machine: what was synced is there afterwards, what was not is lost, and it starts."""

import contextlib

from tinsmith.devices.boards.starting import boot, cut

LIMIT_S = 60.0


def said(board, line):
    with contextlib.closing(board.open()) as transport:
        ran = transport.run(["sh", "-c", line], time_limit_s=LIMIT_S)
        assert ran.code == 0, ran
        return ran.stdout.decode()


def test_only_what_was_synced_outlives_a_cut(start):
    board = start("power", "vm")
    first = said(board, "echo synced > /data/a && sync && echo lost > /data/b; cat /proc/sys/kernel/random/boot_id")
    cut(board)
    again = boot(board)

    assert again.address == board.address
    assert said(again, "ls /data; cat /data/a") == "a\nsynced\n"
    assert said(again, "cat /proc/sys/kernel/random/boot_id") != first
