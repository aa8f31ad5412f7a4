"""A phone behind a real adbd, without Python: flashed, asked and taken back by the commands' own calls."""

from contextlib import closing

import pytest

from tinsmith.convert.bundling import bundle
from tinsmith.devices.device import Device
from tinsmith.devices.flashing.agents import agent_of
from tinsmith.devices.flashing.deploying import Deployer, cargo_of, status_of
from tinsmith.devices.flashing.flash import Permissions
from tinsmith.devices.flashing.host_log import HostLog
from tinsmith.devices.flashing.phone import PhoneAgent
from tinsmith.devices.flashing.store import Store
from tinsmith.devices.reaching import open_device
from tinsmith.devices.transports.faults import Cut, FaultyTransport
from tinsmith.runtime.errors import DeviceError, ModelLoadError
from tinsmith.runtime.profile import load_profile

LIMIT_S = 60.0
FREE = Permissions(unsigned=True, window_s=0.0)


class Silent:
    def stage(self, name):
        pass

    def sent(self, done_bytes, size_bytes):
        pass


@pytest.fixture
def transport(adb_board):
    with closing(adb_board.open()) as transport:
        yield transport


@pytest.fixture
def device(adb_board, transport, empty_folder):
    return Device(
        name="phone", profile=load_profile("android-arm64"), profile_name="android-arm64", address=adb_board.address,
        base=str(empty_folder(transport)),
    )  # fmt: skip


@pytest.fixture
def deployer(tmp_path):
    return Deployer(store=Store(tmp_path / "store"), log=HostLog(tmp_path / "log.jsonl"))


@pytest.fixture
def flash(device, deployer, tmp_path, golden):
    def flashed(version):
        path = tmp_path / f"{version}.tin"
        if not path.exists():
            bundle(golden / "cnn_int8.tflite", path, name="cnn", version=version)
        return deployer.flash(device, cargo_of(path)[0], FREE, Silent())

    return flashed


def gets_runner(transport, device, script):
    line = 'mkdir -p "$1" && printf "%s\\n" "#!/bin/sh" "$2" > "$1/benchmark_model" && chmod 755 "$1/benchmark_model"'
    ran = transport.run(["sh", "-c", line, "sh", device.base, script], time_limit_s=LIMIT_S)
    assert ran.code == 0, ran


def test_it_is_known_as_a_phone_and_everything_is_done_over_adb(device, deployer, transport, flash):
    assert isinstance(agent_of(device, transport), PhoneAgent)
    first = flash(1)
    assert (first.active.version, first.verified, first.sent.form) == (1, False, "whole")
    gets_runner(transport, device, 'head -c 8 "${1#--graph=}" | grep -q TFL3 && echo "Inference (avg): 5685.2"')

    second = flash(2)
    assert (second.before.version, second.active.version, second.verified) == (1, 2, True)
    assert (second.engine, second.golden) == ("benchmark_model", "exit code 0; it prints 5.685 ms")
    assert flash(2).changed is False
    standing = status_of(device, check=True)
    assert (standing.error, standing.status.active.version, standing.status.previous.version) == (None, 2, 1)
    assert standing.status.audit_head == second.audit_head
    back = deployer.rolled_back(device, "it was slow")
    assert (back.error, back.answer.active.version) == (None, 1)
    assert status_of(device).status.active.version == 1


def test_a_model_that_it_does_not_run_changes_nothing(device, transport, flash):
    flash(1)
    gets_runner(transport, device, "echo no such operator >&2; exit 1")
    with pytest.raises(ModelLoadError, match="phone: run: benchmark_model ended with exit code 1: no such operator"):
        flash(2)
    assert status_of(device).status.active.version == 1


def test_an_upload_that_is_cut_off_goes_on_at_the_byte(device, deployer, tmp_path, golden, monkeypatch):
    path = tmp_path / "app.tin"
    bundle(golden / "cnn_int8.tflite", path, name="cnn", version=1)
    cargo = cargo_of(path)[0]
    ways = [FaultyTransport(open_device(device)) for _ in range(2)]
    ways[0].faults.append(Cut(after_bytes=5000))
    monkeypatch.setattr("tinsmith.devices.flashing.deploying.open_device", lambda _: ways.pop(0))
    with pytest.raises(DeviceError):
        deployer.flash(device, cargo, FREE, Silent())
    sent = deployer.flash(device, cargo, FREE, Silent()).sent

    assert sent.resumed_bytes == 5000
    assert sent.resumed_bytes + sent.size_bytes == path.stat().st_size
