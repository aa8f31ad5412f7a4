"""A board from the shop is set up for real: arm64 wheels, an agent that answers, and a model that it runs."""

import json
import shutil
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from tinsmith.convert.bundling import bundle
from tinsmith.devices.boards import faults
from tinsmith.devices.device import Device
from tinsmith.devices.setup.report import Wanted
from tinsmith.devices.setup.setting_up import set_up
from tinsmith.devices.setup.there import Board, look
from tinsmith.runtime.agent.requests import Activate, Commit, Health, Install, Receive, Status, request_json
from tinsmith.runtime.errors import HostError, LinkLostError, NoRoomError, TinsmithError
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.profile import load_profile

GOLDEN = Path(__file__).parents[1] / "golden"
LIMIT_S = 300.0


@pytest.fixture(scope="module")
def transport(proot_board):
    with closing(proot_board.open()) as transport:
        yield transport


@pytest.fixture(scope="module")
def device(proot_board):
    return Device(name="pi", profile=load_profile("pi4"), profile_name="pi4", address=proot_board.address,
                  host_key=proot_board.host_key, base="/data/tinsmith")  # fmt: skip


@pytest.fixture(scope="module")
def done(device, transport):
    try:
        return set_up(device, transport, wanted=Wanted())
    except HostError as error:
        pytest.skip(f"there are no wheels for the board: {error.message}")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copy(GOLDEN / "cnn_int8.tflite", folder / "cnn.tflite")
    bundle(folder / "cnn.tflite", folder / "app.tin", name="cnn", version=1)
    return folder / "app.tin"


def ask(transport, done, request):
    arguments = [f"{done.base}/venv/bin/python", "-m", "tinsmith.runtime.agent", done.base]
    ran = transport.run(arguments, stdin=json.dumps(request_json(request)).encode(), time_limit_s=LIMIT_S)
    assert ran.code == 0, ran
    return json.loads(ran.stdout)


def test_it_gets_wheels_for_its_own_cpu_and_nothing_is_sent_twice(device, transport, done):
    assert (done.facts.arch, done.base) == ("aarch64", "/data/tinsmith")
    assert done.facts.engines.keys() == {"litert"}
    assert done.sent_bytes > 10**7

    again = set_up(device, transport, wanted=Wanted())
    assert (again.sent_bytes, again.facts.engines) == (0, done.facts.engines)


def test_it_runs_a_model_and_answers_the_same_bits_at_the_same_version(transport, done, app):
    name = sha256_of(app)
    ask(transport, done, Status())  # makes the folders
    transport.put(app, PurePosixPath(done.base, "parts", f"{name}.part"), time_limit_s=LIMIT_S)
    ask(transport, done, Receive(sha256=name, size_bytes=app.stat().st_size, part=name, form="whole"))
    installed = ask(transport, done, Install(sha256=name, allow_unsigned=True, time_limit_s=LIMIT_S))

    assert (installed["engine"], installed["engine_version"]) == ("litert", done.facts.engines["litert"])
    assert "is off by 0, " in installed["golden"]
    ask(transport, done, Activate(sha256=name, window_s=600))
    assert ask(transport, done, Commit(sha256=name))["active"]["version"] == 1
    assert ask(transport, done, Health(time_limit_s=LIMIT_S))["golden"] == installed["golden"]


def cutting(board, put, after_bytes):
    """A put that pulls the cable out once so many bytes have gone."""
    left_bytes = [after_bytes]

    def told(count, sent):
        sent(count)
        left_bytes[0] -= count
        if left_bytes[0] <= 0:
            faults.link_down(board)

    return lambda *args, sent, **keys: put(*args, sent=lambda count: told(count, sent), **keys)


class TestFaults:
    """What a real OpenSSH board does when it breaks; nothing gets so far as to change it."""

    @pytest.fixture
    def broken(self, ssh_board):
        """Sets the board up in a folder of its own, and gives the error."""
        facts = {"profile": load_profile("pi4"), "profile_name": "pi4", "address": ssh_board.address}

        def tried(base, *, cut_after_bytes=None):
            device = Device(name="pi", base=base, host_key=ssh_board.host_key, **facts)
            with closing(ssh_board.open()) as transport:
                if cut_after_bytes is not None:
                    transport.put = cutting(ssh_board, transport.put, cut_after_bytes)
                with pytest.raises(TinsmithError) as caught:
                    set_up(device, transport, wanted=Wanted())
            if isinstance(caught.value, HostError):
                pytest.skip(f"there are no wheels for the board: {caught.value.message}")
            assert ssh_board.address in caught.value.message
            return caught.value

        yield tried
        faults.link_up(ssh_board)
        faults.fast_link(ssh_board)
        faults.writable(ssh_board)
        faults.limit_memory(ssh_board, limit_bytes=None)

    def test_a_disk_that_is_too_small_is_seen_before_anything_is_sent(self, ssh_board, broken):
        faults.small_disk(ssh_board, PurePosixPath("/data/small"), size_bytes=30_000_000)
        error = broken("/data/small")
        faults.remove_disk(ssh_board, PurePosixPath("/data/small"))

        assert isinstance(error, NoRoomError)
        assert "setting up: looking for room" in error.message
        assert "df -h /data/small" in error.hint

    def test_a_disk_that_cannot_be_written_is_named(self, ssh_board, broken):
        faults.read_only(ssh_board)
        error = broken("/data/ro")

        assert "setting up: looking at it: /data/ro: Read-only file system" in error.message
        assert (error.exit_code, "remount,rw" in error.hint) == (5, True)

    def test_memory_that_runs_out_is_said_to_have(self, ssh_board, broken):
        faults.limit_memory(ssh_board, limit_bytes=40_000_000)
        error = broken("/data/poor")

        assert "exit code 137" in error.message or "memory" in error.message.lower()

    def test_a_link_that_is_cut_leaves_what_has_come(self, ssh_board, broken):
        faults.slow_link(ssh_board, bits_per_s=20_000_000)
        error = broken("/data/cut", cut_after_bytes=1 << 20)
        faults.link_up(ssh_board)

        assert isinstance(error, LinkLostError)
        with closing(ssh_board.open()) as transport:
            there = look(Board(transport, "/data/cut", "/usr/bin/python3"))
        assert sum(there.parts.values()) > 1 << 19
