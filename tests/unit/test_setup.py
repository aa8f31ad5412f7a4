"""Setting up a whole board: a real environment of wheels in a folder, faults of boards, and what keeps a server up."""

import errno
import json
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from tinsmith.devices.device import Device
from tinsmith.devices.placing import base_on
from tinsmith.devices.reaching import open_device
from tinsmith.devices.setup.report import Wanted
from tinsmith.devices.setup.setting_up import set_up, set_up_all
from tinsmith.devices.transports.fake import FakeTransport
from tinsmith.devices.transports.faults import Cut, FaultyTransport, Full
from tinsmith.devices.transports.protocol import Ran
from tinsmith.runtime.bundle.secret_key import new_secret_key
from tinsmith.runtime.errors import (
    DeviceError,
    HostError,
    LinkLostError,
    NoRoomError,
    UnreachableError,
    UsageError,
)
from tinsmith.runtime.profile import load_profile
from tinsmith.runtime.server.settings import read_settings

LIMIT_S = 60.0
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
CRYPTOGRAPHY = "cryptography/hazmat/primitives/asymmetric/ed25519.py"


@pytest.fixture(autouse=True)
def no_path(monkeypatch):
    """A board does not see the packages of the host."""
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory, make_wheel):
    """A folder of wheels that hold next to nothing."""
    folder = tmp_path_factory.mktemp("fetched")
    for name, path in (("numpy-2.0.0", "numpy/__init__.py"), ("cryptography-44.0.0", CRYPTOGRAPHY),
                       ("cffi-2.0.0", "cffi/__init__.py"), ("typing_extensions-4.15.0", "typing_extensions.py"),
                       ("ai_edge_litert-2.3.0", "ai_edge_litert/interpreter.py")):  # fmt: skip
        make_wheel(folder, f"{name}-py3-none-any.whl", {path: ""})
    return folder


@pytest.fixture
def wheels(fetched, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(fetched, tmp_path / "wheels"))


@pytest.fixture(scope="module")
def ready(tmp_path_factory, fetched):
    """What setting up makes of an empty folder, and what it said of that."""
    folder = tmp_path_factory.mktemp("ready")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        there = device(f"local:{folder}")
        return folder, set_up(there, open_device(there), wanted=wanted(fetched))


def device(address, **facts):
    return Device(name="kitchen", profile=load_profile("local"), profile_name="local", address=address, **facts)


@pytest.fixture
def board(tmp_path):
    """A folder of this machine as a device."""
    (tmp_path / "board").mkdir()
    return device(f"local:{tmp_path / 'board'}")


@pytest.fixture
def known(board, ready):
    """The same, set up already."""
    shutil.copytree(ready[0], base_on(board), symlinks=True, dirs_exist_ok=True)
    place = Path(base_on(board), "server.json")
    place.write_text(place.read_text().replace(str(ready[0]), str(base_on(board))))
    return board


@pytest.fixture
def transport(board):
    with closing(FaultyTransport(open_device(board))) as transport:
        yield transport


def wanted(wheels, **settings):
    return Wanted(wheels=wheels, service=False, **settings)


def test_a_board_with_python_alone_gets_an_agent_that_answers(ready, tmp_path):
    base, done = ready

    assert (done.device, done.base, done.engine, done.unit) == ("kitchen", str(base), "litert", "")
    assert done.facts.engines == {"litert": "2.3.0"}
    assert done.facts.keys == ()
    assert done.sent_bytes == sum(wheel.size_bytes for wheel in done.wheels) > 0
    asked = b'{"schema": 1, "request": "facts"}'
    ran = subprocess.run([base / "venv/bin/python", "-m", "tinsmith.runtime.agent", base], input=asked,
                         capture_output=True, check=True, cwd=tmp_path)  # fmt: skip
    assert json.loads(ran.stdout)["agent"] == done.facts.agent
    settings = read_settings((base / "server.json").read_text(), of="it")
    assert (settings.follow, settings.models[0].path, settings.host) == (True, base / "current/app.tin", "127.0.0.1")


def test_asked_again_nothing_is_sent_and_an_upgrade_sends_what_is_new(known, transport, wheels, make_wheel):
    board = known
    again = set_up(board, transport, wanted=wanted(wheels))
    assert (again.sent_bytes, transport.put_bytes) == (0, 0)
    assert "send numpy" not in again.durations_ms

    path = make_wheel(wheels, "numpy-2.1.0-py3-none-any.whl", {"numpy/__init__.py": "x = 1"})
    upgraded = set_up(board, transport, wanted=wanted(wheels))
    assert upgraded.sent_bytes == path.stat().st_size
    assert {w.package: w.version for w in upgraded.wheels if w.sent_bytes} == {"numpy": "2.1.0"}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_link_that_was_cut_goes_on_at_the_byte(known, transport, wheels, make_wheel, share):
    whole_bytes = make_wheel(wheels, "numpy-2.1.0-py3-none-any.whl", {"numpy/__init__.py": "#" * 999}).stat().st_size
    transport.faults.append(Cut(after_bytes=int(share * whole_bytes)))

    with pytest.raises(LinkLostError, match="putting"):
        set_up(known, transport, wanted=wanted(wheels))
    done = set_up(known, transport, wanted=wanted(wheels))
    assert transport.put_bytes == whole_bytes
    assert done.sent_bytes == whole_bytes - int(share * whole_bytes)


def test_keys_are_trusted_and_named_once(known, transport, wheels, tmp_path):
    keys = []
    for name in ("one.pub", "two.pub"):
        (tmp_path / name).write_text(new_secret_key().public.to_text())
        keys.append(tmp_path / name)
    set_up(known, transport, wanted=wanted(wheels, trust=(keys[0],)))
    done = set_up(known, transport, wanted=wanted(wheels, trust=(keys[1], keys[0])))

    base = tmp_path / "board"
    assert len(done.facts.keys) == len(set(done.facts.keys)) == 2
    settings = read_settings((base / "server.json").read_text(), of="it")
    assert set(settings.trust) == {base / "trusted" / f"{name}.pub" for name in done.facts.keys}
    assert not [note for note in done.notes if "trusts no key" in note]


def test_a_key_that_is_none_is_found_before_anything_is_done(board, transport, wheels, tmp_path):
    (tmp_path / "bad.pub").write_text("none")
    with pytest.raises(UsageError):
        set_up(board, transport, wanted=wanted(wheels, trust=(tmp_path / "bad.pub",)))
    assert not list((tmp_path / "board").iterdir())


def test_what_the_owner_has_written_into_the_settings_stays(known, transport, wheels, tmp_path):
    path = tmp_path / "board" / "server.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "port": 9000, "limits": {"queue": 3}, "follow": False}))
    set_up(known, transport, wanted=wanted(wheels))

    settings = read_settings(path.read_text(), of="it")
    assert (settings.port, settings.limits.queue, settings.follow) == (9000, 3, True)

    path.write_text("{")
    with pytest.raises(UsageError, match=r"server.json is no JSON"):
        set_up(known, transport, wanted=wanted(wheels))
    assert path.read_text() == "{"


def test_an_engine_that_does_not_start_there_changes_nothing(known, transport, wheels, make_wheel, tmp_path):
    broken = {"ai_edge_litert/interpreter.py": "raise ImportError('libstdc++.so.6: cannot open')"}
    make_wheel(wheels, "ai_edge_litert-2.3.0-1-py3-none-any.whl", broken)
    (wheels / "ai_edge_litert-2.3.0-py3-none-any.whl").unlink()

    with pytest.raises(DeviceError, match=r"local:.*: setting up: making the environment: .*libstdc"):
        set_up(known, transport, wanted=wanted(wheels))
    asked = b'{"schema": 1, "request": "facts"}'
    arguments = [str(tmp_path / "board/venv/bin/python"), "-m", "tinsmith.runtime.agent", str(tmp_path / "board")]
    assert transport.run(arguments, stdin=asked, time_limit_s=LIMIT_S).code == 0


def test_a_full_disk_is_named_while_a_wheel_is_sent(board, transport, wheels):
    transport.faults.append(Full(after_bytes=1000))
    with pytest.raises(NoRoomError, match=r"local:.*disk is full"):
        set_up(board, transport, wanted=wanted(wheels))


def test_a_small_disk_is_named_before_a_byte_is_sent(small_disk, wheels):
    small = device(f"local:{small_disk}")
    transport = FaultyTransport(open_device(small))
    with pytest.raises(NoRoomError, match=r"setting up: looking for room: it takes [\d,]+ bytes") as caught:
        set_up(small, transport, wanted=wanted(wheels))
    assert transport.put_bytes == 0
    assert f"df -h {small_disk}" in caught.value.hint


def test_a_disk_that_cannot_be_written_is_named(small_disk, wheels):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(DeviceError, match=r"setting up: looking at it: .*Read-only file system") as caught:
        set_up(device(f"local:{small_disk}"), open_device(device(f"local:{small_disk}")), wanted=wanted(wheels))
    assert "remount,rw" in caught.value.hint


def says(code=0, stdout="", stderr=""):
    return lambda arguments, stdin: Ran(code=code, stdout=stdout.encode(), stderr=stderr.encode())


LOOK = {
    "base": "/root/tinsmith", "python": "/usr/bin/python3", "prefix": "/usr", "version": "3.11.2",
    "machine": "aarch64", "glibc": "2.36", "packages": {}, "free_bytes": 10**9, "wheels": [], "parts": {},
    "settings": "", "keys": [], "decryption_key": False, "systemd": False, "user": "root", "home": "/root",
    "lingers": False,
}  # fmt: skip


class TestFaultyBoards:
    """What a board says that can't be set up, and what the user gets to hear."""

    @pytest.mark.parametrize(
        ("shell", "python", "error", "reason", "hint"),
        [
            (says(127), None, DeviceError, "looking for Python: it has no Python", "apt install python3"),
            (says(126, "Python 3.9.2\n"), None, DeviceError, "it has Python 3.9.2, and tinsmith needs", "newer"),
            (None, says(137, "", "Killed"), DeviceError, "looking at it: .*exit code 137: Killed", "memory"),
            (None, says(0, json.dumps({"refused": "x", "number": errno.ENOSPC, "path": "/d"})), NoRoomError,
             "disk is full", "df -h /d"),
            (None, says(0, json.dumps({"refused": "Permission denied", "number": errno.EACCES, "path": "/d"})),
             DeviceError, "Permission denied", "ls -ld /d"),
            (None, says(0, json.dumps({**LOOK, "glibc": ""})), HostError, r"no wheel of .*\(no glibc\)", "--wheels"),
            (None, says(0, json.dumps({**LOOK, "machine": "armv7l"})), DeviceError,
             "it has no numpy and cryptography", "apt install python3-numpy python3-cryptography"),
        ],
    )  # fmt: skip
    def test_is_named_with_the_stage_and_the_next_command(self, tmp_path, shell, python, error, reason, hint):
        programs = {"sh": shell or says(0, "/usr/bin/python3\n"), "/usr/bin/python3": python}
        fake = FakeTransport(address="ssh://pi", programs=programs)
        with pytest.raises(error, match=f"ssh://pi: setting up: .*{reason}") as caught:
            set_up(device("ssh://pi"), fake, wanted=Wanted(wheels=tmp_path))
        assert hint in caught.value.hint

    def test_one_that_does_not_answer_keeps_no_other_from_it(self, known, wheels, tmp_path):
        lost = replace(known, name="cellar", address=f"local:{tmp_path / 'none'}")
        bad, good = set_up_all([lost, known], wanted(wheels))

        assert (bad.done, good.error) == (None, None)
        assert bad.error.message.startswith("cellar: local:")
        assert bad.error.hint.endswith("tinsmith devices setup -d cellar")

    def test_one_that_is_lost_is_unreachable(self, board, transport, wheels):
        transport.is_lost = True
        with pytest.raises(UnreachableError):
            set_up(board, transport, wanted=wanted(wheels))


class Systemd:
    """A board with systemd whose every program is written down."""

    def __init__(self, **look):
        self.look = {**LOOK, "systemd": True, **look}
        self.unit = None
        self.asked = []
        self.placed = []
        self.state = 0
        self.transport = FakeTransport(
            address="ssh://pi",
            programs={"sh": self.sh, "cat": self.cat, "/usr/bin/python3": self.python},
        )
        self.transport.folders.add(PurePosixPath(self.look["base"], "wheels"))

    def sh(self, arguments, stdin):
        script, words = arguments[1], arguments[3:]
        if "command -v" in script:
            return Ran(code=0, stdout=b"/usr/bin/python3\n", stderr=b"")
        if "tinsmith.runtime.agent" in words:
            return Ran(code=0, stdout=FACTS.encode(), stderr=b"")
        verb = next(line for line in reversed(script.split("\n")) if line).replace('"', "").split()
        self.asked.append([*(word for word in verb if word in ("start", "is-active")), *words])
        return Ran(code=self.state, stdout=b"", stderr=b"it failed" if self.state else b"")

    def cat(self, arguments, stdin):
        return Ran(code=int(self.unit is None), stdout=(self.unit or "").encode(), stderr=b"")

    def python(self, arguments, stdin):
        asked = json.loads(arguments[2])
        said = {"look": self.look, "unpack": {}, "switch": {"changed": True}, "place": {"changed": []}}[asked["job"]]
        self.placed += asked.get("files", [])
        return Ran(code=0, stdout=json.dumps(said).encode(), stderr=b"")


FACTS = json.dumps({
    "schema": 1, "agent": "0.1.0", "python": "3.11.2", "engines": {"litert": "2.3.0"}, "arch": "aarch64", "cpu": "",
    "cpu_features": [], "cores": 4, "ram_bytes": 1, "disk_free_bytes": 1, "machine_id": "", "keys": [],
    "status": {"active": None, "previous": None, "on_trial": False, "trial_until_s": None, "highest": {},
               "audit_head": "0" * 64, "resolved": "", "busy": False, "unwritable": ""},
})  # fmt: skip


class TestSystemd:
    def test_the_server_is_started_with_its_timer(self, wheels):
        board = Systemd()
        done = set_up(device("ssh://pi"), board.transport, wanted=Wanted(wheels=wheels))

        assert done.unit == "/etc/systemd/system/tinsmith.service"
        assert board.asked == [["tinsmith.service", "tinsmith-settle.timer", "restart"],
                               ["is-active", "tinsmith.service"]]  # fmt: skip
        paths = {path for path, _, _ in board.placed}
        assert {f"/etc/systemd/system/{name}" for name in
                ("tinsmith.service", "tinsmith-settle.service", "tinsmith-settle.timer")} < paths  # fmt: skip

    def test_a_user_gets_units_of_their_own_and_hears_of_lingering(self, wheels):
        board = Systemd(user="pi", home="/home/pi", base="/home/pi/tinsmith")
        done = set_up(device("ssh://pi"), board.transport, wanted=Wanted(wheels=wheels))

        assert done.unit == "/home/pi/.config/systemd/user/tinsmith.service"
        assert any("loginctl enable-linger pi" in note for note in done.notes)

    def test_without_a_service_systemd_is_not_touched(self, wheels):
        board = Systemd()
        done = set_up(device("ssh://pi"), board.transport, wanted=Wanted(wheels=wheels, service=False))

        assert (done.unit, board.asked) == ("", [])
        assert {path for path, _, _ in board.placed} == {"server.json", "serve"}

    def test_the_unit_of_another_folder_is_not_taken_away(self, wheels):
        board = Systemd()
        board.unit = 'ExecStart="/opt/other/venv/bin/python" -m tinsmith.runtime.server "/opt/other/server.json"'
        with pytest.raises(DeviceError, match="serves another folder"):
            set_up(device("ssh://pi"), board.transport, wanted=Wanted(wheels=wheels))
        assert board.placed == []

        board.unit = board.unit.replace("/opt/other", board.look["base"])
        set_up(device("ssh://pi"), board.transport, wanted=Wanted(wheels=wheels))

    def test_a_server_that_does_not_stay_up_is_an_error(self, wheels):
        board = Systemd()
        board.state = 1
        with pytest.raises(DeviceError, match="starting the server: it failed") as caught:
            set_up(device("ssh://pi"), board.transport, wanted=Wanted(wheels=wheels))
        assert "journalctl" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "facts", "base"),
    [
        ("ssh://pi@10.0.0.7", {}, "tinsmith"),
        ("ssh://pi@10.0.0.7/opt/x", {}, "/opt/x"),
        ("ssh://pi@10.0.0.7/~/models", {}, "models"),
        ("ssh://pi@10.0.0.7/opt/x", {"base": "/srv/y"}, "/srv/y"),
        ("adb:R58M12", {}, "/data/local/tmp/tinsmith"),
        ("local:/tmp/x", {}, "/tmp/x"),
        ("local", {}, "/data/tinsmith/device"),
    ],
)
def test_the_base_folder_is_what_was_named_else_the_usual_one(address, facts, base, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert base_on(device(address, **facts)) == PurePosixPath(base)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert base_on(device("local")).is_absolute()
