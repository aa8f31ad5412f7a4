"""A virtual board that is set up, bundles that rise in version, and flashes of them, for parts that break boards."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import subprocess
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
from tinsmith.devices.transports.addresses import parse_address
from tinsmith.runtime.files import sha256_of
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

    def make(self, version, extra_bytes=0):
        """A bundle that is longer than its model, because bytes behind the end of a .tflite do no harm."""
        return self.make_with(version, os.urandom(extra_bytes))

    def make_of(self, source, version):
        """A bundle of a model that stands elsewhere."""
        path = self.folder / source.name
        path.write_bytes(source.read_bytes())
        out = self.folder / f"{source.stem}-{version}.tin"
        bundle(path, out, name=source.stem, version=version)
        return out

    def make_with(self, version, behind):
        """A bundle of a small model with such bytes behind its end."""
        path = self.folder / "cnn.tflite"
        path.write_bytes((GOLDEN / "cnn_int8.tflite").read_bytes() + behind)
        out = self.folder / f"cnn-{version}.tin"
        bundle(path, out, name="cnn", version=version)
        return out

    def flash(self, path, **permissions):
        cargo, _ = cargo_of(path)
        return self.deployer.flash(self.device, cargo, replace(self.permissions, **permissions), Silent())

    @property
    def where(self):
        """Host and port of the board's SSH server."""
        at = parse_address(self.board.address).at
        return at.host, at.port or 22

    def through(self, proxy):
        """The same board by the way of a proxy."""
        at = parse_address(self.board.address)
        other = copy.copy(self)
        address = str(replace(at, at=replace(at.at, host="127.0.0.1", port=proxy.port)))
        other.device = replace(self.device, address=address)
        return other

    def run(self, script, *arguments, time_limit_s=60.0):
        """A line of shell on the board."""
        with contextlib.closing(self.board.open()) as transport:
            ran = transport.run(["sh", "-c", script, "sh", *map(str, arguments)], time_limit_s=time_limit_s)
        if ran.code:
            raise RuntimeError(f"{script}: {ran}")
        return ran.stdout.decode()

    def held_bytes(self, path):
        """How much of a bundle has come, as it is."""
        part = f"{self.device.base}/parts/{sha256_of(path)}.part"
        return int(self.run('[ ! -f "$1" ] || wc -c < "$1"', part).strip() or 0)

    def empty(self):
        """Nothing was ever flashed, and this host has never sent anything."""
        self.run('cd "$1" && rm -rf parts slots current state.json audit.jsonl', self.device.base)
        shutil.rmtree(self.folder / "store", ignore_errors=True)
        self.deployer = Deployer(store=Store(self.folder / "store"), log=HostLog(self.folder / "log.jsonl"))

    def scp(self, path):
        """Seconds that scp takes for a file, its login included."""
        at = parse_address(self.board.address)
        host, port = self.where
        command = ["scp", "-q", "-i", at.key, "-P", port, "-o", "StrictHostKeyChecking=no", "-o",
                   "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", path, f"root@{host}:/data/copy"]  # fmt: skip
        started = time.perf_counter()
        subprocess.run([str(word) for word in command], check=True)
        return time.perf_counter() - started

    def first(self, path):
        """Seconds that a flash takes, and what it says."""
        started = time.perf_counter()
        found = self.flash(path)
        return time.perf_counter() - started, found

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
