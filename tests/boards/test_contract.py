"""Each kind of virtual board passes the contract of transports, and is what it says it is."""

import contextlib
from pathlib import PurePosixPath

import pytest

from tinsmith.devices.transports.contract import TransportContract

LIMIT_S = 30.0


class BoardContract(TransportContract):
    """Give the fixture ``board``."""

    @pytest.fixture
    def transport(self, board):
        with contextlib.closing(board.open()) as transport:
            yield transport

    @pytest.fixture
    def folder(self, transport, empty_folder):
        return empty_folder(transport)

    def test_it_is_an_arm(self, transport):
        assert transport.run(["uname", "-m"], time_limit_s=LIMIT_S).stdout == b"aarch64\n"
        cpuinfo = transport.run(["cat", "/proc/cpuinfo"], time_limit_s=LIMIT_S).stdout
        assert b"CPU part\t: 0xd08" in cpuinfo
        # without it LiteRT goes on without XNNPACK, and its int8 answers are others
        possible = transport.run(["cat", "/sys/devices/system/cpu/possible"], time_limit_s=LIMIT_S).stdout
        assert possible.startswith(b"0-")

    def test_files_of_the_system_can_be_fetched(self, transport, tmp_path):
        transport.get(PurePosixPath("/bin/sh"), tmp_path / "sh", time_limit_s=LIMIT_S)
        head = (tmp_path / "sh").read_bytes()[:20]

        assert head[:4] == b"\x7fELF"
        assert head[18:20] == b"\xb7\x00"  # EM_AARCH64


class WithPython(BoardContract):
    """As from the shop."""

    def test_python_is_there_and_nothing_of_ours(self, transport):
        script = "import ctypes, lzma, sqlite3, ssl, venv, zipfile; print(*__import__('sys').version_info[:2])"
        assert transport.run(["python3", "-c", script], time_limit_s=LIMIT_S).stdout == b"3 11\n"
        for package in ("tinsmith", "numpy", "ai_edge_litert"):
            assert transport.run(["python3", "-c", f"import {package}"], time_limit_s=LIMIT_S).code == 1

    def test_it_can_be_written_where_a_deployment_goes(self, transport):
        for folder in ("/data", "/root", "/tmp", "/opt"):
            script = f"d=$(mktemp -d {folder}/x.XXXXXX) && rmdir $d"
            assert transport.run(["sh", "-c", script], time_limit_s=LIMIT_S).code == 0


class TestProot(WithPython):
    @pytest.fixture
    def board(self, proot_board):
        return proot_board


class TestSsh(WithPython):
    @pytest.fixture
    def board(self, ssh_board):
        return ssh_board


class TestVm(WithPython):
    @pytest.fixture
    def board(self, vm_board):
        return vm_board


class TestAdb(BoardContract):
    @pytest.fixture
    def board(self, adb_board):
        return adb_board

    def test_there_is_no_python_as_on_a_phone(self, transport):
        assert transport.run(["python3", "--version"], time_limit_s=LIMIT_S).code == 127
