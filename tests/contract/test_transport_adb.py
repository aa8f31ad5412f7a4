"""The adb transport against a script that behaves like the adb program.

The script is a fake, written after what adb 29 and a real adbd were seen to do: it pushes, pulls and runs on this
machine, and can be told to be offline, to cut a push short, or to hang. A real adbd is tested with the boards.
"""

from pathlib import Path, PurePosixPath

import pytest

from tinsmith.devices.transports.adb import AdbTransport
from tinsmith.devices.transports.addresses import AdbAddress
from tinsmith.devices.transports.contract import TransportContract
from tinsmith.runtime.errors import (
    AccessDeniedError,
    DeviceError,
    DeviceTimeoutError,
    HostError,
    LinkLostError,
    NoRoomError,
    UnreachableError,
)

LIMIT_S = 30.0

SCRIPT = r"""#!/bin/sh
home=$(dirname "$0")
state=$(cat "$home/state")
echo "$*" >> "$home/asked"
if [ "$1" = -s ]; then serial=$2; shift 2; fi
case $1 in
start-server) exit 0 ;;
disconnect) echo absent > "$home/state"; exit 0 ;;
connect) echo device > "$home/state"; exit 0 ;;
esac
case $state in
device) ;;
absent) echo "error: device '$serial' not found" >&2; exit 1 ;;
several) echo "error: more than one device/emulator" >&2; exit 1 ;;
recovery) [ "$1" = get-state ] && { echo recovery; exit 0; } ;;
*) echo "error: device $state." >&2; exit 1 ;;
esac
verb=$1; shift
if [ -e "$home/lost" ]; then echo "adb: error: failed to get feature set: device offline" >&2; exit 1; fi
if [ -e "$home/hangs" ] && [ "$verb" = "$(cat "$home/hangs")" ]; then exec sleep 600; fi
case $verb in
get-state) echo device ;;
shell)
    [ "$1" = -T ] && shift
    if [ -e "$home/dropped" ]; then exit 1; fi
    if [ -e "$home/merged" ]; then exec sh -c "$1" 2>&1; fi
    exec sh -c "$1" ;;
push)
    if [ -e "$home/short" ]; then head -c "$(cat "$home/short")" "$1" > "$2"; exit 0; fi
    cat "$1" 2>/dev/null > "$2" || { echo "adb: error: failed to copy '$1' to '$2': remote No space left on device" >&2
        exit 1; } ;;
pull)
    [ -e "$1" ] || { echo "adb: error: failed to stat remote object '$1': No such file or directory" >&2; exit 1; }
    if [ -e "$home/short" ]; then head -c "$(cat "$home/short")" "$1" > "$2"; exit 0; fi
    cat "$1" > "$2" ;;
esac
"""


@pytest.fixture
def adb(tmp_path_factory):
    """The folder of the script; files in it change how it behaves."""
    folder = tmp_path_factory.mktemp("adb")
    (folder / "adb").write_text(SCRIPT)
    (folder / "adb").chmod(0o755)
    (folder / "state").write_text("device")
    return folder


@pytest.fixture
def transport(adb):
    return AdbTransport(AdbAddress(serial="R58M12"), str(adb / "adb"))


def says(transport):
    return transport.run(["printf", "ok"], time_limit_s=LIMIT_S).stdout == b"ok"


class TestContract(TransportContract):
    @pytest.fixture
    def transport(self, transport):
        return transport

    @pytest.fixture
    def folder(self, tmp_path_factory):
        return PurePosixPath(tmp_path_factory.mktemp("there"))


class TestStates:
    @pytest.mark.parametrize(
        ("state", "error", "reason", "hint"),
        [
            ("unauthorized", AccessDeniedError, "not allowed this computer", "screen"),
            ("still authorizing", AccessDeniedError, "not answered yet", "screen"),
            ("no permissions", AccessDeniedError, "over USB", "udev"),
            ("offline", UnreachableError, "is offline", "adb reconnect"),
            ("absent", UnreachableError, "not connected", "adb devices"),
            ("several", UnreachableError, "more than one", "adb:SERIAL"),
            ("recovery", UnreachableError, "not ready: recovery", "adb reboot"),
        ],
    )
    def test_one_that_is_not_ready_is_an_error_of_its_own(self, adb, transport, state, error, reason, hint):
        (adb / "state").write_text(state)
        with pytest.raises(error, match=f"adb:R58M12: running printf: .*{reason}") as caught:
            says(transport)

        assert hint in caught.value.hint
        assert caught.value.exit_code == 5

    def test_no_adb_program_is_the_hosts_fault(self):
        with pytest.raises(HostError, match="no program tinsmith-no-adb") as caught:
            says(AdbTransport(AdbAddress(), "tinsmith-no-adb"))

        assert "apt install adb" in caught.value.hint

    @pytest.mark.parametrize("state", ["absent", "offline"])
    def test_one_in_the_network_is_connected_to_first(self, adb, state):
        (adb / "state").write_text(state)

        assert says(AdbTransport(AdbAddress(serial="10.0.0.9:5555"), str(adb / "adb")))
        assert "connect 10.0.0.9:5555" in (adb / "asked").read_text().splitlines()

    def test_every_question_names_the_device(self, adb, transport, tmp_path):
        (tmp_path / "here").write_bytes(b"x")
        transport.put(tmp_path / "here", PurePosixPath(tmp_path / "there"), time_limit_s=LIMIT_S)
        asked = (adb / "asked").read_text().splitlines()

        assert asked[0] == "start-server"
        assert all(line.startswith("-s R58M12 ") for line in asked[1:])

    def test_the_only_one_needs_no_name(self, adb):
        assert says(AdbTransport(AdbAddress(), str(adb / "adb")))
        assert "get-state" in (adb / "asked").read_text().splitlines()


class TestFaults:
    def test_a_link_that_drops_is_no_exit_code(self, adb, transport):
        assert says(transport)
        (adb / "dropped").touch()
        with pytest.raises(LinkLostError, match="link was lost"):
            says(transport)

    def test_a_device_that_goes_is_lost_first_and_then_unreachable(self, adb, transport):
        assert says(transport)
        (adb / "state").write_text("offline")
        with pytest.raises(LinkLostError, match="offline"):
            says(transport)
        with pytest.raises(UnreachableError):
            says(transport)
        (adb / "state").write_text("device")

        assert says(transport)

    def test_one_that_mixes_output_and_errors_is_refused(self, adb, transport):
        (adb / "merged").touch()
        with pytest.raises(DeviceError, match="keep a program's output and errors apart"):
            says(transport)

    @pytest.mark.parametrize("verb", ["shell", "push", "pull"])
    def test_an_adb_that_hangs_is_given_up(self, adb, transport, verb, tmp_path):
        (tmp_path / "here").write_bytes(b"x")
        there = PurePosixPath(tmp_path / "there")
        transport.put(tmp_path / "here", there, time_limit_s=LIMIT_S)
        (adb / "hangs").write_text(verb)
        ask = {
            "shell": lambda: transport.run(["true"], time_limit_s=0.2),
            "push": lambda: transport.put(tmp_path / "here", there, time_limit_s=0.2),
            "pull": lambda: transport.get(there, tmp_path / "back", time_limit_s=0.2),
        }[verb]
        with pytest.raises(DeviceTimeoutError, match=r"0\.2 s"):
            ask()

        assert not (tmp_path / "back").exists()

    @pytest.mark.parametrize("count", [0, 1, 99_999])
    def test_a_push_that_was_cut_short_is_noticed_and_changes_nothing(self, adb, transport, tmp_path, count):
        (tmp_path / "here").write_bytes(bytes(100_000))
        (tmp_path / "there").write_bytes(b"before")
        (adb / "short").write_text(str(count))
        with pytest.raises(LinkLostError, match=f"brought {count:,} of 100,000 bytes"):
            transport.put(tmp_path / "here", PurePosixPath(tmp_path / "there"), time_limit_s=LIMIT_S)

        assert (tmp_path / "there").read_bytes() == b"before"

    def test_a_pull_that_was_cut_short_leaves_nothing(self, adb, transport, tmp_path):
        (tmp_path / "there").write_bytes(bytes(100_000))
        (adb / "short").write_text("5000")
        with pytest.raises(LinkLostError):
            transport.get(PurePosixPath(tmp_path / "there"), tmp_path / "back", time_limit_s=LIMIT_S)

        assert not (tmp_path / "back").exists()

    def test_a_full_disk_is_said(self, transport, small_disk, tmp_path):
        (tmp_path / "here").write_bytes(bytes(100_000))
        with pytest.raises(NoRoomError, match="disk is full"):
            transport.put(tmp_path / "here", PurePosixPath(small_disk / "there"), time_limit_s=LIMIT_S)

    def test_no_piece_is_left_beside_the_file(self, transport, tmp_path):
        folder = tmp_path / "there"
        folder.mkdir()
        (tmp_path / "here").write_bytes(bytes(3 << 20))
        told = []
        transport.put(tmp_path / "here", PurePosixPath(folder / "x"), time_limit_s=LIMIT_S, sent=told.append)

        assert [p.name for p in Path(folder).iterdir()] == ["x"]
        assert told == [2 << 20, 1 << 20]
