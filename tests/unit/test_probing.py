"""What a live device says, and where its profile is wrong about it."""

import json
import subprocess
import sys

import pytest

from tinsmith.devices.probing import Probed, disagreements, probe
from tinsmith.devices.transports.protocol import Ran
from tinsmith.runtime.cpu import Cpu
from tinsmith.runtime.errors import DeviceError
from tinsmith.runtime.profile import load_profile

CPUINFO = (
    "processor : 0\nBogoMIPS : 108.00\nFeatures : fp asimd evtstrm crc32 cpuid\nCPU part : 0xd08\n\nModel : Pi 4\n"
)
MEMINFO = "MemTotal:         948304 kB\nMemFree:          1 kB\n"
DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 30000000 10000000 19000000 35% /\n"
PYTHON = json.dumps({"python": "3.11.2", "bits": 64, "packages": {"ai-edge-litert": "2.3.0"}})


class Board:
    """Answers a program by its name, or by its name and last argument; what it does not know is not installed."""

    def __init__(self, **answers):
        self.answers = {"uname": "Linux pi 6.6.31 aarch64\n", "cat /proc/cpuinfo": CPUINFO,
                        "cat /proc/meminfo": MEMINFO, "df": DF, "sh": PYTHON, **answers}  # fmt: skip

    def run(self, arguments, *, stdin=b"", time_limit_s):
        assert time_limit_s > 0
        said = self.answers.get(f"{arguments[0]} {arguments[-1]}", self.answers.get(arguments[0]))
        if said is None:
            return Ran(code=127, stdout=b"garbage", stderr=b"not found")
        return Ran(code=0, stdout=said.encode(), stderr=b"")


class Here:
    """This machine."""

    def run(self, arguments, *, stdin=b"", time_limit_s):
        ended = subprocess.run(arguments, input=stdin, capture_output=True, timeout=time_limit_s, check=False)
        return Ran(code=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)


def test_a_raspberry_pi_4_agrees_with_its_profile():
    found = probe(Board())

    assert found == Probed(
        system="Linux 6.6.31", machine="aarch64",
        cpu=Cpu(arch="aarch64", features=frozenset({"asimd"}), model="Pi 4"), ram_bytes=948304 * 1024,
        disk_bytes=30_000_000 * 1024, disk_free_bytes=19_000_000 * 1024, python="3.11.2", engines={"litert": "2.3.0"},
    )  # fmt: skip
    assert disagreements(load_profile("pi4"), found) == ()
    assert found.to_json()["cpu"] == {"arch": "aarch64", "features": ["asimd"]}


def said(profile, board):
    return {(d.what, d.profile, d.device) for d in disagreements(load_profile(profile), probe(board))}


def test_a_wrong_profile_is_found_out():
    assert said("pi5", Board()) == {
        ("CPU features", "asimddp, asimdhp, fphp", "not there"),
        ("RAM", "2,147,483,648 bytes", "971,063,296 bytes"),
    }
    assert said("x86-64-avx2", Board()) == {("architecture", "x86_64", "aarch64")}


def test_more_memory_is_no_disagreement_and_more_features_are_where_the_chip_is_known():
    features = CPUINFO.replace("asimd ", "asimd asimddp ")
    board = Board(**{"cat /proc/meminfo": "MemTotal: 8000000 kB\n", "cat /proc/cpuinfo": features})

    assert said("pi4", board) == {("CPU features", "not stated", "asimddp")}
    assert said("android-arm64", board) == set()


@pytest.mark.parametrize(("version", "wrong"), [("2.0.3", False), ("2.0.2", True), ("2.3.1", True)])
def test_an_engine_outside_the_profiles_versions_is_told(version, wrong):
    board = Board(sh=PYTHON.replace("2.3.0", version))

    assert (("engine litert", "2.0.3 to 2.3.0", version) in said("pi4", board)) is wrong


def test_an_engine_that_the_profile_does_not_know_is_told():
    board = Board(sh=PYTHON.replace("ai-edge-litert", "tflite-runtime"))

    assert said("pi4", board) == {("engine tflite-runtime", "not stated", "2.3.0")}


def test_a_32_bit_system_on_a_64_bit_kernel_is_a_32_bit_arm():
    board = Board(sh=PYTHON.replace("64", "32"), **{"cat /proc/cpuinfo": "Features : half neon vfpv4\n"})

    assert probe(board).cpu == Cpu(arch="armv7l", features=frozenset({"neon", "vfpv4"}))
    assert said("pi4", board) == {("architecture", "aarch64", "armv7l")}


def test_a_device_without_python_df_or_proc_still_answers():
    found = probe(Board(sh=None, df=None, **{"cat /proc/cpuinfo": None, "cat /proc/meminfo": None}))

    assert found == Probed(system="Linux 6.6.31", machine="aarch64")
    assert disagreements(load_profile("pi4"), found) == ()


@pytest.mark.parametrize("df", ["", "Filesystem\n", "Filesystem 1K\n/dev/root - - - - /\n"])
def test_what_df_does_not_say_is_not_known(df):
    found = probe(Board(df=df), base="/opt/tinsmith")

    assert (found.disk_bytes, found.disk_free_bytes) == (None, None)


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_root():
    board = Board(df=None, **{"df /": DF})

    assert probe(board, base="/opt/tinsmith").disk_free_bytes == 19_000_000 * 1024


@pytest.mark.parametrize("uname", [None, "", "sh: not found"])
def test_what_is_no_linux_is_an_error(uname):
    with pytest.raises(DeviceError) as caught:
        probe(Board(uname=uname))

    assert caught.value.exit_code == 5
    assert caught.value.hint


def test_this_machine_says_what_python_knows_of_it(tmp_path):
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to(sys.executable)

    found = probe(Here(), base=str(tmp_path))

    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.ram_bytes > 2**20
    assert 0 <= found.disk_free_bytes <= found.disk_bytes
    assert found.cpu is not None
