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


def test_a_file_that_was_not_synced_is_not_whole_where_its_name_is(start):
    """The machine shows the mistake that an update must not make: a name that is on the disk before its bytes are."""
    board = start("careless", "vm")
    # what syncs another file brings all names to the disk (ext4, data=ordered), and no bytes that have no place yet
    said(board, "head -c 1000000 /dev/urandom > /data/new && ln -s new /data/current && echo > /data/x && sync /data/x")
    cut(board)
    again = boot(board)

    name, size = said(again, "readlink /data/current && wc -c < /data/new").split()
    assert name == "new"
    assert int(size) < 1_000_000  # none of it, or what a slow machine has written back by then
