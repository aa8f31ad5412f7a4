"""What a user types here to run something on a device."""

import shlex
from dataclasses import replace

import pytest

from tinsmith.devices.device import Device
from tinsmith.devices.reaching import typed_line
from tinsmith.runtime.profile import load_profile


@pytest.fixture(scope="module")
def device():
    return Device(name="kitchen", profile=load_profile("local"), profile_name="local", address="local")


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("local", "/b/serve"),
        ("local:/srv/board", "/b/serve"),
        ("ssh://10.0.0.7", "ssh -t 10.0.0.7 /b/serve"),
        ("ssh://pi@10.0.0.7/opt/x", "ssh -t pi@10.0.0.7 /b/serve"),
        ("ssh://root@127.0.0.1:2222?key=/keys/a%20key", "ssh -t -i '/keys/a key' -p 2222 root@127.0.0.1 /b/serve"),
        ("ssh://pi@[fe80::1%25eth0]:22", "ssh -t -p 22 pi@fe80::1%eth0 /b/serve"),
        ("ssh://pi@board?jump=user@gate:2200,[fe80::2]:7", "ssh -t -J 'user@gate:2200,[fe80::2]:7' pi@board /b/serve"),
        ("adb:R3CT30", "adb -s R3CT30 shell -t /b/serve"),
        ("adb:", "adb shell -t /b/serve"),
    ],
)
def test_the_way_onto_a_device_stands_before_the_command(device, address, line):
    assert typed_line(replace(device, address=address), "/b/serve") == line


def test_a_command_of_several_words_comes_to_the_devices_shell_as_it_is(device):
    command = "'/a board/serve' && systemctl start x"

    line = typed_line(replace(device, address="ssh://pi@10.0.0.7"), command)

    assert shlex.split(line) == ["ssh", "-t", "pi@10.0.0.7", command]
