"""Virtual boards of each kind, started once for all tests; left out, with the reason, where this machine can't."""

from pathlib import PurePosixPath

import pytest

from tinsmith.devices.boards.board import Board
from tinsmith.devices.boards.starting import KINDS, lack_of, running, start_board, stop_board

LIMIT_S = 30.0


@pytest.fixture(scope="session")
def own_state(tmp_path_factory):
    """No test sees the boards of whoever runs it; what they start from is shared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def start(own_state, request):
    """Starts a board: name, kind -> board; stopped at the end of the session, or before."""
    started = []

    def start_(name, kind) -> Board:
        need(kind, request.config)
        started.append(name)
        return start_board(name, kind=kind)

    yield start_
    for name in started:
        stop_board(name)


@pytest.fixture(scope="session")
def minutes_allowed(request):
    """Tests that take minutes run where somebody asks for them."""
    allow_minutes(request.config)


def allow_minutes(config):
    if not config.getoption("--boards"):
        pytest.skip("it takes minutes: make test-boards, which is pytest tests/boards --boards")


def need(kind, config):
    if kind != "proot":
        allow_minutes(config)
    if lack := lack_of(KINDS[kind]):
        pytest.skip(lack.message)
    if not KINDS[kind].is_prepared():
        pytest.skip(f"what boards of the kind {kind} start from is not made: make boards")


def board_of(kind):
    @pytest.fixture(scope="session", name=f"{kind}_board")
    def board(own_state, request):
        need(kind, request.config)
        with running(f"shared-{kind}", kind=kind) as started:
            yield started

    return board


proot_board = board_of("proot")
ssh_board = board_of("ssh")
adb_board = board_of("adb")
vm_board = board_of("vm")


@pytest.fixture
def empty_folder():
    """Makes an empty folder on a board: transport -> path."""

    def made(transport):
        ran = transport.run(["mktemp", "-d", "/tmp/test.XXXXXX"], time_limit_s=LIMIT_S)
        assert ran.code == 0, ran
        return PurePosixPath(ran.stdout.decode().strip())

    return made
