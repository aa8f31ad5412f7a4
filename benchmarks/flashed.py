"""A virtual board that is set up, bundles that rise in version, and flashes of them, for parts that break boards."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path

from tinsmith.convert.bundling import bundle
from tinsmith.devices.boards.starting import running
from tinsmith.devices.device import Device
from tinsmith.devices.flashing.deploying import Deployer, cargo_of, status_of
from tinsmith.devices.flashing.flash import Permissions
from tinsmith.devices.flashing.host_log import HostLog
from tinsmith.devices.flashing.store import Store
from tinsmith.devices.setup.report import Wanted
from tinsmith.devices.setup.setting_up import set_up
from tinsmith.runtime.profile import load_profile

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
_PROFILE = "virtual-arm64"


class Silent:
    """Tells nobody how a flash goes on."""

    def stage(self, name):
        pass

    def sent(self, done_bytes, size_bytes):
        pass


class Flashed:
    """One board and the bundles that go to it.

    Args:
        board: That runs.
        folder: For bundles, and for what the host keeps.
    """

    def __init__(self, board, folder):
        self.board, self.folder = board, folder
        profile = load_profile(_PROFILE)
        self.device = Device(name=board.name, profile=profile, profile_name=_PROFILE, address=board.address,
                             host_key=board.host_key, base="/data/tinsmith")  # fmt: skip
        self.deployer = Deployer(store=Store(folder / "store"), log=HostLog(folder / "log.jsonl"))
        self.permissions = Permissions(unsigned=True, window_s=0.0, time_limit_s=120.0)

    def set_up(self, trust=()):
        with contextlib.closing(self.board.open()) as transport:
            return set_up(self.device, transport, wanted=Wanted(service=False, trust=trust))

    def make(self, version, extra_bytes=0, *, model="cnn_int8.tflite", name="cnn", **settings):
        """A bundle of a small model that is longer, because bytes behind the end of a .tflite do no harm."""
        path = self.folder / "cnn.tflite"
        path.write_bytes((GOLDEN / model).read_bytes() + os.urandom(extra_bytes))
        out = self.folder / f"{name}-{version}.tin"
        out.unlink(missing_ok=True)
        bundle(path, out, name=name, version=version, **settings)
        return out

    def flash(self, path, watch=None, **permissions):
        cargo, _ = cargo_of(path)
        return self.deployer.flash(self.device, cargo, replace(self.permissions, **permissions), watch or Silent())

    def standing(self, *, check=False, patience_s=90.0):
        """What the board serves; asked until it answers."""
        ends_s = time.monotonic() + patience_s
        while True:
            found = status_of(self.device, check=check)
            if found.error is None or time.monotonic() > ends_s:
                return found
            time.sleep(0.5)


@contextlib.contextmanager
def flashed(name, kind, folder):
    """A board of a kind, set up; stopped at the end."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    with running(name, kind=kind) as board:
        made = Flashed(board, folder)
        made.set_up()
        yield made
