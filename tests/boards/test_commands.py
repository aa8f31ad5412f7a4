"""``devices up`` and ``devices down``: a board in the inventory by one command, and out of it by another."""

import json

import pytest

from tinsmith.__main__ import run
from tinsmith.devices.boards.starting import find_board, stop_board
from tinsmith.devices.boards.systems import BOARD, is_made
from tinsmith.devices.inventory import read_inventory

pytestmark = pytest.mark.usefixtures("own_state")


@pytest.fixture
def cli(capsys):
    def call(*arguments):
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def proot_needed(proot_board):
    """The system is there, and so are the programs."""
    yield
    for name in ("virtual", "second"):
        stop_board(name)


@pytest.mark.usefixtures("proot_needed")
class TestUpAndDown:
    def test_a_board_is_there_for_every_command_and_gone_afterwards(self, cli):
        assert cli("devices", "up", "--kind", "proot")[0] == 0
        code, out, _ = cli("devices", "probe", "-d", "virtual", "--format", "json")
        probed = json.loads(out)["devices"][0]["probed"]
        assert (code, probed["machine"], probed["python"][:4]) == (0, "aarch64", "3.11")
        assert probed["engines"] == {}
        assert cli("devices", "down")[0] == 0

        assert read_inventory().devices == ()
        assert find_board("virtual") is None
        code, _, err = cli("devices", "down")
        assert code == 2
        assert "no virtual board virtual" in err

    def test_the_key_of_the_host_is_pinned(self, cli):
        code, out, _ = cli("devices", "up", "second", "--kind", "proot", "--format", "json")
        document = json.loads(out)
        assert code == 0
        assert document["device"]["host_key"].startswith("SHA256:")
        assert document["device"]["profile"] == "virtual-arm64"

        assert read_inventory().find("second").address == document["board"]["address"]

    def test_one_whose_state_is_gone_is_taken_out_of_the_inventory(self, cli):
        cli("devices", "up", "--kind", "proot")
        stop_board("virtual")

        assert cli("devices", "down")[0] == 0
        assert read_inventory().devices == ()

    def test_one_that_ended_by_itself_is_started_again(self, cli):
        cli("devices", "up", "--kind", "proot")
        find_board("virtual").process.end()
        code, _, err = cli("devices", "probe", "-d", "virtual")
        assert code == 5, err
        assert cli("devices", "up", "--kind", "proot")[0] == 0

        assert cli("devices", "probe", "-d", "virtual")[0] == 0


def test_a_device_of_the_user_is_never_replaced_nor_removed(cli):
    cli("devices", "add", "kitchen", "--profile", "pi4", "--address", "ssh://pi@10.0.0.7")
    code, _, err = cli("devices", "up", "kitchen", "--kind", "proot")
    assert code in (2, 3)
    code, _, err = cli("devices", "down", "kitchen")
    assert code == 2
    assert "no virtual board kitchen" in err

    assert read_inventory().find("kitchen").address == "ssh://pi@10.0.0.7"


def test_what_is_missing_is_named_with_the_way_to_get_it(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("tinsmith.devices.boards.programs._MORE_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = cli("devices", "up")
    assert code == 3
    assert "proot" in err
    assert "make boards" in err
    assert "qemu-user-static" in " ".join(err.split())


@pytest.mark.parametrize("name", ["local", "a b", "../x", ""])
def test_a_name_that_is_none_is_refused(cli, name):
    if not is_made(BOARD):
        pytest.skip("what boards start from is not made: make boards")

    assert cli("devices", "up", name, "--kind", "proot")[0] == 2
    assert cli("devices", "down", name)[0] == 2
