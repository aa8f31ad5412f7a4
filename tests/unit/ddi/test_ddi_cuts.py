"""The power is cut at each change on the disk and each request: an action is closed once, with the truth."""

import importlib.util
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.runtime.agent.ddi.fates import newest_serial
from tinsmith.runtime.agent.ddi.journal import ACTIVATING, Action, Journal, JournalFile
from tinsmith.runtime.agent.ddi.server import HawkbitServer
from tinsmith.runtime.agent.filesystem import FileSystem
from tinsmith.runtime.audit import verify_log


def _beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


agent_cuts = _beside("test_agent_cuts")
CutFileSystem, PowerCutError = agent_cuts.CutFileSystem, agent_cuts.PowerCutError


def cutting_server(files):
    """Each request may be the last, before it is sent and after it was answered."""

    class Cut(HawkbitServer):
        def _tell(self, method, link, document):
            files.step(method, Path("request"))
            super()._tell(method, link, document)
            files.step("answered", Path("request"))

        def get(self, link, *, of):
            files.step("GET", Path("request"))
            return super().get(link, of=of)

    return Cut


@pytest.fixture(scope="module")
def room():
    """A folder in memory, where waiting for the disk costs nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def bundles(room):
    contents = {1: None, 2: None, "sick": b"TFL3 sick", "broken": b"TFL3 broken"}
    return {
        name: agent_cuts.make_bundle(room / "made.tin", 1 if name == 1 else 2, content).read_bytes()
        for name, content in contents.items()
    }


@pytest.fixture
def cut_board(room, hawkbit, bundles, new_device):
    """Boards that serve version 1, or nothing, each in a folder of its own."""
    start = Path(tempfile.mkdtemp(dir=room))
    (start / "empty").mkdir()
    (start / "one").mkdir()
    first = new_device(start / "one", hawkbit)
    first.follow(hawkbit.deploy(bundles[1], action="1"))
    first.cycle()
    made = []

    def copy(name):
        made.append(Path(tempfile.mkdtemp(dir=room)))
        return Path(shutil.copytree(start / name, made[-1] / "board", symlinks=True))

    yield copy
    for folder in (start, *made):
        shutil.rmtree(folder)


def cut_off(device, action, *, at, torn, lost):
    """Cut the power at one step; False where the action was closed before."""
    files = CutFileSystem(device.base.parent, cut_at=at, torn=torn)
    device.files, device.server = files, cutting_server(files)
    try:
        device.follow(action)
    except PowerCutError:
        if lost:
            files.lose()
        return True
    finally:
        device.files, device.server, device.client = None, HawkbitServer, None
    return False


@pytest.mark.parametrize(
    ("start", "bundle", "torn", "lost", "reboot"),
    [
        ("one", 2, False, False, False),
        ("one", 2, False, True, True),
        ("empty", 2, True, False, True),
        ("one", "sick", True, False, False),
        ("one", "broken", False, True, False),
    ],
)
def test_an_action_that_is_cut_off_anywhere_is_closed_once_with_the_truth(
    hawkbit, cut_board, bundles, new_device, start, bundle, torn, lost, reboot
):
    old, new = bundles[1] if start == "one" else None, bundles[bundle]
    seen = set()
    for at in range(400):
        hawkbit.forget()
        action = hawkbit.deploy(new, action="2")
        device = new_device(cut_board(start), hawkbit)
        if not cut_off(device, action, at=at, torn=torn, lost=lost):
            break
        assert device.served in (old, new), f"step {at}"
        device.boot = "two" if reboot else "one"
        device.follow(action)

        assert len(action.ends) == 1, f"step {at}"
        finished = action.ends[0]["result"]["finished"]
        seen.add(finished)
        assert (finished == "success") == (device.served == new), f"step {at}: {action.ends}"
        assert device.committed == (new if finished == "success" else old), f"step {at}"
        assert action.ends[0]["details"][0]
        assert action.said.count(("downloaded", "none")) <= 2
        device.cycle()
        assert len(action.ends) == 1
        assert device.client.journal == Journal(reported=device.client.journal.reported)
        assert verify_log(device.base / "audit.jsonl").head == device.board.newest_line().head
        assert not list(device.base.glob(".hawkbit*"))
    assert 40 < at < 400, "the steps were not seen"
    # what is sound fails only where the device was started again while it was on trial
    assert seen == ({"success"} if bundle == 2 else set()) | ({"failure"} if bundle != 2 or reboot else set())


def test_an_update_that_was_cut_off_before_its_switch_never_began_and_goes_on(hawkbit, cut_board, bundles, new_device):
    class UntilTheSwitch(FileSystem):
        def switch(self, link, target):
            raise PowerCutError(link, target)

    device = new_device(cut_board("one"), hawkbit)
    action = hawkbit.deploy(bundles[2], action="2")
    device.files = UntilTheSwitch()
    with pytest.raises(PowerCutError):
        device.follow(action)
    device.files = device.client = None

    assert device.follow(action)["result"]["finished"] == "success"
    assert device.committed == bundles[2]
    assert agent_cuts.events(device.base)[2:] == ["trial", "rollback", "trial", "commit"]


def test_an_older_rollback_of_the_same_bundle_is_not_taken_for_this_one(hawkbit, device, bundles):
    device.follow(hawkbit.deploy(bundles["sick"], action="1"))
    again = hawkbit.deploy(bundles["sick"], action="2")
    action = Action(
        id="2", link=f"{device.settings.root}/deploymentBase/2", sha256=agent_cuts.sha256(bundles["sick"]),
        stage=ACTIVATING, since=newest_serial(device.board.state()),
    )  # fmt: skip
    JournalFile(device.board).write(Journal(action=action))  # as a cut before the activation leaves it
    device.start()
    assert device.follow(again)["result"]["finished"] == "failure"
    assert agent_cuts.events(device.base) == ["trial", "rollback"] * 2


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 150), st.booleans()), max_size=5), st.sampled_from([2, "sick", "broken"]))
def test_an_action_that_is_cut_off_again_and_again_is_closed_once(cut_story, cuts, bundle):
    cut_story(cuts, bundle)


@pytest.fixture
def cut_story(hawkbit, cut_board, bundles, new_device):
    def call(cuts, bundle):
        hawkbit.forget()
        action = hawkbit.deploy(bundles[bundle], action="2")
        device = new_device(cut_board("one"), hawkbit)
        for number, (at, reboot) in enumerate(cuts):
            cut_off(device, action, at=at, torn=at % 2 == 1, lost=reboot)
            device.boot = f"boot {number}" if reboot else device.boot
            assert len(action.ends) <= 1
        if action.active:
            device.follow(action)
        device.cycle()
        success = action.ends[0]["result"]["finished"] == "success"
        assert (len(action.ends), device.committed) == (1, bundles[bundle] if success else bundles[1])

    return call
