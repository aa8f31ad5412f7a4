"""This machine and the fake pass the contract that is shipped for transports of third parties."""

import errno
import os
import time
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.transports.contract import TransportContract
from tinsmith.devices.transports.fake import FakeTransport
from tinsmith.devices.transports.faults import Cut, FaultyTransport, Full, Stalled
from tinsmith.devices.transports.local import LocalTransport
from tinsmith.devices.transports.protocol import Ran
from tinsmith.runtime.errors import (
    DeviceError,
    DeviceTimeoutError,
    HostError,
    LinkLostError,
    NoRoomError,
    UnreachableError,
)

FILE = PurePosixPath("/data/x")


class TestLocal(TransportContract):
    @pytest.fixture
    def transport(self):
        return LocalTransport()

    @pytest.fixture
    def folder(self, tmp_path_factory):
        return PurePosixPath(tmp_path_factory.mktemp("board"))


class TestFake(TransportContract):
    @pytest.fixture
    def transport(self):
        return FakeTransport()

    @pytest.fixture
    def folder(self):
        return PurePosixPath("/data")


class TestFaultyWithoutFaults(TestFake):
    @pytest.fixture
    def transport(self):
        return FaultyTransport(FakeTransport())


def test_the_contract_catches_a_transport_that_forgets_to_cut(tmp_path):
    class Forgetful(FakeTransport):
        def put(self, source, destination, *, offset=0, time_limit_s, sent=None):
            beyond = self.files.get(destination, b"")[source.stat().st_size :]
            super().put(source, destination, offset=offset, time_limit_s=time_limit_s, sent=sent)
            self.files[destination] += beyond

    with pytest.raises(AssertionError):
        TransportContract().test_a_file_goes_on_at_an_offset(Forgetful(), PurePosixPath("/data"), tmp_path)


class TestThisMachine:
    def test_relative_paths_and_programs_start_in_its_folder(self, tmp_path):
        (tmp_path / "here").write_bytes(b"x")
        transport = LocalTransport(tmp_path)
        transport.put(tmp_path / "here", PurePosixPath("there"), time_limit_s=1)

        assert transport.run(["cat", "there"], time_limit_s=30).stdout == b"x"
        assert transport.address == f"local:{tmp_path}"

    def test_a_folder_that_is_not_there_is_said(self, tmp_path):
        with pytest.raises(DeviceError, match=r"no folder .*absent") as caught:
            LocalTransport(tmp_path / "absent").run(["true"], time_limit_s=30)

        assert "mkdir -p" in caught.value.hint

    def test_what_may_not_be_run_is_126(self, tmp_path):
        (tmp_path / "x").write_text("")

        assert LocalTransport().run([str(tmp_path / "x")], time_limit_s=30).code == 126

    def test_children_of_a_program_that_is_given_up_are_killed_too(self, tmp_path):
        told = tmp_path / "pid"
        os.mkfifo(told)
        # the limit begins to count when the child has told its number
        reading = os.open(told, os.O_RDWR)
        with pytest.raises(DeviceTimeoutError):
            LocalTransport().run(["sh", "-c", f"sh -c 'echo $$ > {told}; exec sleep 600' & wait"], time_limit_s=1)
        child = int(os.read(reading, 100))
        os.close(reading)

        deadline_s = time.monotonic() + 20
        while Path(f"/proc/{child}").exists() and _state(child) != "Z" and time.monotonic() < deadline_s:
            os.sched_yield()
        assert not Path(f"/proc/{child}").exists() or _state(child) == "Z"

    def test_a_full_disk_is_said(self, small_disk, tmp_path):
        (tmp_path / "here").write_bytes(bytes(100_000))
        with pytest.raises(NoRoomError, match="disk is full") as caught:
            LocalTransport().put(tmp_path / "here", PurePosixPath(small_disk / "there"), time_limit_s=30)

        assert "df -h" in caught.value.hint
        assert caught.value.exit_code == 5

    def test_a_file_that_is_not_here_is_the_hosts_fault(self, tmp_path):
        with pytest.raises(HostError, match="absent"):
            LocalTransport().put(tmp_path / "absent", PurePosixPath(tmp_path / "there"), time_limit_s=30)

        assert not (tmp_path / "there").exists()

    def test_an_offset_outside_of_the_file_is_a_mistake_of_the_caller(self, tmp_path):
        (tmp_path / "here").write_bytes(b"abc")
        with pytest.raises(ValueError, match="offset 4"):
            LocalTransport().put(tmp_path / "here", PurePosixPath(tmp_path / "there"), offset=4, time_limit_s=30)


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class TestFakeDevice:
    def test_its_disk_fills_up(self, tmp_path):
        board = FakeTransport(disk_bytes=5000)
        (tmp_path / "here").write_bytes(bytes(6000))
        with pytest.raises(NoRoomError):
            board.put(tmp_path / "here", FILE, time_limit_s=1)

        assert len(board.files[FILE]) == 5000

    def test_it_runs_the_programs_of_a_test(self):
        board = FakeTransport(programs={"uname": lambda arguments, stdin: Ran(code=0, stdout=b"armv7l\n", stderr=b"")})

        assert board.run(["uname", "-m"], time_limit_s=1).stdout == b"armv7l\n"

    @pytest.mark.parametrize(
        ("fault", "error"), [(Cut, LinkLostError), (Full, NoRoomError), (Stalled, DeviceTimeoutError)]
    )
    def test_a_fault_leaves_what_had_come(self, fault, error, tmp_path):
        faulty = FaultyTransport(board := FakeTransport())
        faulty.faults.append(fault(after_bytes=100))
        (tmp_path / "here").write_bytes(bytes(range(200)))
        with pytest.raises(error, match="fake:board: putting x"):
            faulty.put(tmp_path / "here", FILE, time_limit_s=1)

        assert board.files[FILE] == bytes(range(100))

    @given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0, 40), max_size=20))
    def test_going_on_after_cuts_sends_no_byte_twice(self, content, cuts):
        faulty = FaultyTransport(board := FakeTransport())
        faulty.faults.extend(Cut(after_bytes=count) for count in cuts)
        here = Path("here")
        here.write_bytes(content)
        for _ in range(len(cuts) + 1):
            try:
                faulty.put(here, FILE, offset=len(board.files.get(FILE, b"")), time_limit_s=1)
            except LinkLostError:
                continue
            break

        assert board.files[FILE] == content
        assert faulty.put_bytes == len(content)

    def test_a_lost_device_answers_nothing_until_it_is_back(self, tmp_path):
        faulty = FaultyTransport(FakeTransport())
        faulty.is_lost = True
        for ask in (
            lambda: faulty.run(["cat"], time_limit_s=1),
            lambda: faulty.put(tmp_path / "here", FILE, time_limit_s=1),
            lambda: faulty.get(FILE, tmp_path / "back", time_limit_s=1),
        ):
            with pytest.raises(UnreachableError):
                ask()
        faulty.is_lost = False

        assert faulty.run(["cat"], stdin=b"x", time_limit_s=1).stdout == b"x"


def test_a_quota_is_a_full_disk_too():
    from tinsmith.devices.transports.steps import Step

    said = Step(address="local", doing="putting x").refused(OSError(errno.EDQUOT, "Disk quota exceeded"), "/data")

    assert isinstance(said, NoRoomError)
