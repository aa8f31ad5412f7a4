"""The power of a whole arm64 machine is cut at random moments of a flash: it starts with the old bundle or the new one.

Only a cut later than five seconds into writing shows what a missing fsync costs, because ext4 writes its journal that
often: so the bundle is large enough to take longer than that, and the moments lie over the whole of the flash.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.flashed import flashed
from tinsmith.devices.boards.starting import KINDS, boot, cut, lack_of
from tinsmith.runtime.errors import TinsmithError

_CUTS = 40
_EXTRA_BYTES = 4 << 20
_SEED = 0


def figures(cuts=_CUTS):
    if lack := lack_of(KINDS["vm"]):
        yield Figure(name="cuts of the power", value=None, bar=0, seen=lack.message)
        return
    with tempfile.TemporaryDirectory() as folder, flashed("power-cuts", "vm", Path(folder)) as board:
        yield from _Cuts(board).figures(cuts)


class _Cuts:
    def __init__(self, board):
        self.board = board
        self.wrong, self.old, self.new, self.late = [], 0, 0, 0
        self.versions = iter(range(1, 1000))

    def figures(self, cuts):
        whole_s = self.first()
        rng = random.Random(_SEED)
        for number in range(cuts):
            self.one(rng.uniform(0, whole_s * 1.3), number)
        seen = f"[{self.old} old, {self.new} new; {self.late} later than 5 s; a whole flash took {whole_s:.0f} s]"
        yield Figure(name=f"cuts of {cuts} after which the board serves neither the old bundle nor the new one whole, "
                     "or not the one that was reported", value=len(self.wrong), bar=0,
                     seen="; ".join([seen, *self.wrong]))  # fmt: skip

    def first(self):
        """What a flash takes that nobody cuts off, the second one, so that all is warm."""
        self.flash_whole()
        started = time.monotonic()
        self.flash_whole()
        return time.monotonic() - started

    def flash_whole(self):
        self.version = next(self.versions)
        self.board.flash(self.board.make(self.version, _EXTRA_BYTES))

    def one(self, after_s, number):
        version = next(self.versions)
        path = self.board.make(version, _EXTRA_BYTES)
        reported = []

        def flash():
            try:
                reported.append(self.board.flash(path).active.version)
            except TinsmithError as error:
                reported.append(error)

        thread = threading.Thread(target=flash)
        thread.start()
        time.sleep(after_s)
        done = [found for found in reported if found == version]
        cut(self.board.board)
        self.board.board = boot(self.board.board)
        thread.join()
        self.judge(self.board.standing(check=True), version, done, f"cut {number} at {after_s:.1f} s")
        self.late += after_s > 5

    def judge(self, standing, version, done, what):
        status = standing.status
        active = None if status is None else status.active
        if standing.error is not None or active is None:
            self.wrong.append(f"{what}: {standing.error.message if standing.error else 'nothing is active'}")
        elif active.version not in (self.version, version) or status.on_trial:
            self.wrong.append(f"{what}: version {active.version} is active, and {self.version} was, {version} came")
        elif done and active.version != version:
            self.wrong.append(f"{what}: version {version} was reported, and {active.version} is active")
        else:
            self.old += active.version == self.version
            self.new += active.version == version
            self.version = active.version
            print(
                f"    {what}: {'new' if active.version == version else 'old'}{' (reported)' if done else ''}",
                flush=True,
            )
