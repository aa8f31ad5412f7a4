"""The units of a board under a real systemd: a container of this machine's kind, whose power can be cut.

What a unit's sandbox lets through is decided by systemd and the kernel; `systemd-analyze verify` does not see it.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from tinsmith.convert.bundling import bundle
from tinsmith.devices.asking import Agent
from tinsmith.devices.boards.mirror import debian_mirror
from tinsmith.devices.boards.places import cache_folder
from tinsmith.devices.device import Device
from tinsmith.devices.setup.report import Wanted
from tinsmith.devices.setup.setting_up import set_up
from tinsmith.devices.transports.protocol import Ran
from tinsmith.runtime.agent.answers import Activated, DeviceStatus, InstalledBundle, Received
from tinsmith.runtime.agent.requests import Activate, Commit, Install, Receive, Status
from tinsmith.runtime.bundle.encryption import load_encryption_key, write_encryption_key
from tinsmith.runtime.errors import HostError
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.profile import load_profile

GOLDEN = Path(__file__).parents[1] / "golden"
PATIENCE_S = 90.0
BASE = PurePosixPath("/root/tinsmith")  # root's home, which the server's user can't look into
PROGRAMS = ("mmdebstrap", "systemd-nspawn", "nsenter")
PACKAGES = ("base-files", "bash", "coreutils", "dash", "findutils", "grep", "libc-bin", "libnss-systemd",
            "libpython3.11-stdlib", "libstdc++6", "mount", "procps", "python3-minimal", "sed", "systemd",
            "systemd-sysv", "util-linux")  # fmt: skip
INDEX = "import urllib.request as u; print(u.urlopen(u.Request('http://127.0.0.1:8080/v2/repository/index', method='POST')).read().decode())"  # noqa: E501
FILES = {"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n", "machine-id": "",
         "nsswitch.conf": "passwd: files systemd\ngroup: files systemd\n"}  # fmt: skip


class Container:
    """A Debian with systemd, and a transport to it."""

    address = "nspawn:board"

    def __init__(self, root):
        self.root = root
        self.start()

    def start(self):
        arguments = ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", "--register=no", "--keep-unit",
                     "--private-network", "--console=passive"]  # fmt: skip
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(arguments, stdin=quiet, stdout=quiet, stderr=quiet)
        until(lambda: self.leader() and self.says("systemctl is-system-running") in ("running", "degraded"))

    def leader(self):
        """The number here of the process that is 1 there; 0 until there is one."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(found[0]) if found else 0

    def cut(self):
        os.kill(self.leader(), 9)
        self.process.wait(PATIENCE_S)

    def says(self, line):
        return self.run(["sh", "-c", line], time_limit_s=PATIENCE_S).stdout.decode().strip()

    def run(self, arguments, *, stdin=b"", time_limit_s):
        inside = ["nsenter", "-t", str(self.leader()), "-m", "-p", "-u", "-i", "-n", "-r", "-w",
                  "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]  # fmt: skip
        ran = subprocess.run([*inside, *arguments], input=stdin, capture_output=True, timeout=time_limit_s, check=False)
        return Ran(code=ran.returncode, stdout=ran.stdout, stderr=ran.stderr)

    def put(self, source, destination, *, offset=0, time_limit_s, sent=None):
        shutil.copy(source, f"{self.root}{destination}")
        if sent:
            sent(source.stat().st_size - offset)

    def served(self):
        (line,) = json.loads(self.says(f'python3 -c "{INDEX}"') or "[{}]")
        return line.get("state"), line.get("version")


def until(is_so):
    ends_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_s
        time.sleep(0.2)  # another machine gets there in its own time


@pytest.fixture(scope="module")
def root(tmp_path_factory, minutes_allowed):
    if os.geteuid():
        pytest.skip("a container needs root")
    for program in PROGRAMS:
        if not shutil.which(program):
            pytest.skip(f"there is no program {program}: make boards")
    kept = cache_folder() / "systemd-1"
    if not kept.is_dir():
        _make(kept)
    folder = tmp_path_factory.mktemp("container") / "root"
    subprocess.run(["cp", "--archive", "--reflink=auto", kept, folder], check=True)
    return folder


def _make(kept):
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        made, archive = Path(folder, "root"), Path(folder, "tar")
        command = ["mmdebstrap", "--quiet", "--variant=extract", "--format=tar", f"--include={','.join(PACKAGES)}",
                   "bookworm", archive, f"deb {debian_mirror()} bookworm main"]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            pytest.skip(f"a Debian can't be had: {ran.stderr.splitlines()[-1:]}")
        made.mkdir()
        subprocess.run(["tar", "-xf", archive, "-C", made], check=True)
        for name, text in FILES.items():
            (made / "etc" / name).write_text(text)
        (made / "root").mkdir(mode=0o700, exist_ok=True)
        made.rename(kept)


@pytest.fixture(scope="module")
def board(root):
    container = Container(root)
    yield container
    container.cut()


@pytest.fixture(scope="module")
def device():
    profile = replace(load_profile("x86-64-avx2"), engines=())
    return Device(name="box", profile=profile, profile_name="", address="ssh://root@box", base=str(BASE))


@pytest.fixture(scope="module")
def done(board, device):
    try:
        return set_up(device, board, wanted=Wanted())
    except HostError as error:
        pytest.skip(f"there are no wheels for the board: {error.message}")


@pytest.fixture(scope="module")
def agent(board, done):
    return Agent(device="box", transport=board, base=BASE)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Three versions, the last one encrypted, and its key."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copy(GOLDEN / "dense.tflite", folder / "dense.tflite")
    write_encryption_key(folder / "key")
    for version in (1, 2, 3):
        key = load_encryption_key(folder / "key") if version == 3 else None
        bundle(folder / "dense.tflite", folder / f"{version}.tin", name="dense", version=version, encryption_key=key)
    return folder


def try_out(board, agent, path, window_s):
    name = sha256_of(path)
    agent.ask(Status(), DeviceStatus)
    board.put(path, BASE / "parts" / f"{name}.part", time_limit_s=PATIENCE_S)
    agent.ask(Receive(sha256=name, size_bytes=path.stat().st_size, part=name, form="whole"), Received)
    agent.ask(Install(sha256=name, allow_unsigned=True), InstalledBundle)
    agent.ask(Activate(sha256=name, window_s=window_s), Activated)
    until(lambda: board.served()[1] == path.stem)
    return name


def test_the_server_waits_under_a_user_of_its_own_that_can_write_nothing(board, done):
    assert done.unit == "/etc/systemd/system/tinsmith.service"
    until(lambda: board.served() == ("UNAVAILABLE", ""))
    number = board.says("systemctl show -p MainPID --value tinsmith")
    status = board.says(f"cat /proc/{number}/status")
    assert "Uid:\t0" not in status
    assert "CapEff:\t0000000000000000" in status
    mounts = [line.split() for line in board.says(f"cat /proc/{number}/mountinfo").splitlines()]
    assert [words[5].split(",")[0] for words in mounts if words[4] == str(BASE)] == ["ro"]
    assert '"active": null' in board.says("journalctl -u tinsmith -o cat")  # the agent was asked before


def test_a_trial_that_a_cut_of_power_has_ended_is_taken_back_before_anything_is_served(board, agent, bundles):
    agent.ask(Commit(sha256=try_out(board, agent, bundles / "1.tin", 600)), Activated)
    try_out(board, agent, bundles / "2.tin", 600)
    board.cut()
    board.start()

    until(lambda: board.served() == ("READY", "1"))
    assert "started again before the update was committed" in board.says(f"tail -n 1 {BASE}/audit.jsonl")


def test_a_trial_that_nobody_commits_is_taken_back_by_the_timer(board, agent, bundles):
    try_out(board, agent, bundles / "2.tin", 8)
    until(lambda: "nobody committed" in board.says(f"tail -n 1 {BASE}/audit.jsonl"))  # nobody asks but the timer
    until(lambda: board.served() == ("READY", "1"))
    assert "Skipped" not in board.says("journalctl -b -u tinsmith-settle.service")


def test_an_encrypted_bundle_is_served_with_a_key_of_roots(board, agent, device, bundles):
    board.put(bundles / "key", BASE / "decryption.key", time_limit_s=PATIENCE_S)
    board.says(f"chmod 600 {BASE}/decryption.key")
    set_up(device, board, wanted=Wanted())
    agent.ask(Commit(sha256=try_out(board, agent, bundles / "3.tin", 600)), Activated)

    assert board.served() == ("READY", "3")


def test_asked_again_nothing_changes_and_the_server_runs_on(board, device, done):
    number = board.says("systemctl show -p MainPID --value tinsmith")
    again = set_up(device, board, wanted=Wanted())

    assert again.sent_bytes == 0
    assert board.says("systemctl show -p MainPID --value tinsmith") == number
