"""A rollout goes in waves, stops where too many fail, and goes on wherever this machine died."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.convert.bundling import bundle
from tinsmith.devices.device import Device
from tinsmith.devices.flashing.agents import agent_of
from tinsmith.devices.flashing.deploying import Deployer, cargo_of
from tinsmith.devices.flashing.deployment import Deployment, Sent
from tinsmith.devices.flashing.flash import Cargo, Flasher, Permissions
from tinsmith.devices.flashing.host_log import HostLog
from tinsmith.devices.flashing.store import Store
from tinsmith.devices.fleet.journal import begin_journal, list_rollouts, open_journal
from tinsmith.devices.fleet.plan import Plan
from tinsmith.devices.fleet.rollout import Rollout
from tinsmith.devices.fleet.waves import Share, Size, plan_waves
from tinsmith.devices.reaching import open_device
from tinsmith.devices.transports.faults import Cut, FaultyTransport, Full
from tinsmith.runtime.agent.answers import Bundled
from tinsmith.runtime.errors import LinkLostError, RolledBackError, UnreachableError, VerificationError
from tinsmith.runtime.profile import load_profile

CARGO = Cargo(path=Path("/srv/app.tin"), sha256="ab" * 32, name="cats", version=3)
UNSIGNED = Permissions(unsigned=True, window_s=0)


class HostDiedError(BaseException):
    """Nothing may catch it."""


class FakeFlashing:
    """Devices in memory. Passes the contract of ``Flashing`` below, as the real one does.

    Attributes:
        faults: By device, what its next flashes raise; a pair says that it is raised after the first question.
        asked: Names, in the order in which they were begun.
        commits: How often each was switched.
    """

    def __init__(self, faults=None):
        self.faults = {name: list(errors) for name, errors in (faults or {}).items()}
        self.asked = []
        self.commits = {}
        self._lock = threading.Lock()

    def flash(self, device, cargo, permissions, watch):
        watch.stage("asking")
        with self._lock:
            self.asked.append(device.name)
            fault = self.faults.get(device.name) and self.faults[device.name].pop(0)
        if isinstance(fault, BaseException):
            raise fault
        if device.name not in self.commits:
            watch.stage("sending")
        if fault:
            raise fault[0]
        with self._lock:
            changed = device.name not in self.commits
            if changed:
                self.commits[device.name] = 1
        return deployment(device, cargo, changed=changed)


def deployment(device, cargo, *, changed):
    active = Bundled(slot="a", sha256=cargo.sha256, name=cargo.name, version=cargo.version, size_bytes=10, signed_by="",
                     artifact="x.tflite")  # fmt: skip
    sent = Sent(form="whole", size_bytes=10) if changed else Sent()
    return Deployment(
        device=device.name, address=device.address, active=active, before=None if changed else active, changed=changed,
        sent=sent, audit_head="cd" * 32,
    )  # fmt: skip


class Heard:
    """Hears how a rollout goes on; and this machine dies when it has heard so many devices end."""

    def __init__(self, dies_after=None):
        self.waves, self.started_, self.ended_ = [], [], []
        self._dies_after = dies_after

    def wave(self, wave):
        self.waves.append(wave)

    def started(self, device):
        self.started_.append(device)

    def ended(self, outcome):
        self.ended_.append(outcome)
        if len(self.ended_) == self._dies_after:
            raise HostDiedError


def board(name, address="local"):
    return Device(name=name, profile=load_profile("local"), profile_name="local", address=address)


def planned(names, *, canary=(), steps=(), max_failures_percent=50.0, parallel=1, cargo=CARGO):
    return Plan(
        cargo=cargo, devices=tuple(names), waves=plan_waves(names, canary=canary, steps=steps), permissions=UNSIGNED,
        max_failures_percent=max_failures_percent, parallel=parallel,
    )  # fmt: skip


def roll_out(folder, plan, flashing, heard=None, *, devices=None):
    found = {name: board(name) for name in plan.devices} | (devices or {})
    with begin_journal(plan, folder) as journal:
        return Rollout(plan, journal, found, flashing=flashing, watch=heard or Heard()).run()


def go_on(folder, flashing, heard=None):
    (record,) = list_rollouts(folder)
    found = {name: board(name) for name in record.plan.devices}
    with open_journal(record.path) as journal:
        return Rollout(record.plan, journal, found, flashing=flashing, watch=heard or Heard()).run()


def results(result):
    return {outcome.device: outcome.result for outcome in result.outcomes}


def bad(name):
    return VerificationError(f"{name}: golden: outputs are off by 3", hint="mend it")


def off(name):
    return UnreachableError(f"{name}: it does not answer")


def test_a_canary_then_waves_each_when_the_one_before_has_ended(tmp_path):
    names = [f"d{number}" for number in range(10)]
    heard = Heard()
    plan = planned(names, canary=("d7",), steps=(Share(percent=30),), parallel=3)
    result = roll_out(tmp_path, plan, FakeFlashing(), heard)

    assert [wave.title for wave in heard.waves] == ["canary", "wave 1", "wave 2"]
    assert heard.started_[0] == "d7"
    assert set(heard.started_[1:3]) == {"d0", "d1"}
    assert heard.ended_[0].device == "d7"
    assert {outcome.device for outcome in heard.ended_[1:3]} == {"d0", "d1"}
    assert results(result) == dict.fromkeys(names, "done")
    assert (list(results(result)), result.stopped, result.exit_code) == (names, "", 0)


def test_a_canary_that_fails_stops_everything(tmp_path):
    result = roll_out(tmp_path, planned("abcd", canary=("b",)), FakeFlashing({"b": [bad("b")]}))

    assert results(result) == {"a": "not started", "b": "failed", "c": "not started", "d": "not started"}
    assert result.stopped.startswith("canary: 1 of 1 failed")
    assert result.exit_code == 6


def test_a_canary_that_is_off_proves_nothing(tmp_path):
    flashing = FakeFlashing({"a": [off("a"), off("a")]})
    result = roll_out(tmp_path, planned("abc", canary=("a",)), flashing)
    assert results(result) == {"a": "later", "b": "not started", "c": "not started"}
    assert (flashing.asked, result.exit_code) == (["a"], 5)
    assert "nothing is known" in result.stopped

    assert results(go_on(tmp_path, FakeFlashing())) == dict.fromkeys("abc", "done")


def test_one_that_is_off_is_asked_again_at_the_end_and_counts_against_nobody(tmp_path):
    flashing = FakeFlashing({"a": [off("a")], "c": [off("c"), off("c")]})
    result = roll_out(tmp_path, planned("abcd", max_failures_percent=0), flashing)

    assert flashing.asked == list("abcdac")
    assert results(result) == {"a": "done", "b": "done", "c": "later", "d": "done"}
    assert (result.stopped, result.exit_code) == ("", 5)


def test_one_that_dies_of_the_bundle_is_not_taken_for_one_that_is_off(tmp_path):
    flashing = FakeFlashing({"a": [(off("a"),)], "b": [(LinkLostError("b: it was lost"),)]})
    result = roll_out(tmp_path, planned("abc", canary=("a",)), flashing)
    assert results(result) == {"a": "failed", "b": "not started", "c": "not started"}

    result = go_on(tmp_path, flashing)
    assert results(result) == dict.fromkeys("abc", "done"), "a lost link is asked once more at the end"
    assert flashing.asked == list("aabcb")


def test_one_that_was_lost_and_then_does_not_answer_has_failed_and_not_been_off(tmp_path):
    flashing = FakeFlashing({"b": [(off("b"),), off("b")]})
    result = roll_out(tmp_path, planned("abc"), flashing)

    assert flashing.asked == list("abcb")
    assert results(result) == {"a": "done", "b": "failed", "c": "done"}
    assert results(go_on(tmp_path, FakeFlashing({"b": [off("b"), off("b")]})))["b"] == "failed"


def test_one_that_rolled_back_counts_and_has_the_highest_code(tmp_path):
    faults = {"b": [RolledBackError("b: health window: it was taken back")], "c": [bad("c")]}
    result = roll_out(tmp_path, planned("abcdefgh", max_failures_percent=12.5, steps=(Size(devices=8),)),
                      FakeFlashing(faults))  # fmt: skip

    assert list(results(result).values()) == ["done", "rolled back", "failed", *["not started"] * 5]
    assert result.exit_code == 7


def test_what_is_under_way_at_the_stop_is_brought_to_its_end(tmp_path):
    together = threading.Barrier(2, timeout=10)

    class Together(FakeFlashing):
        def flash(self, device, cargo, permissions, watch):
            if device.name in "ab":
                together.wait()
            return super().flash(device, cargo, permissions, watch)

    plan = planned("abcd", max_failures_percent=0, parallel=2)
    result = roll_out(tmp_path, plan, Together({"a": [bad("a")], "b": [bad("b")]}))
    assert results(result) == {"a": "failed", "b": "failed", "c": "not started", "d": "not started"}


FAULTS = st.sampled_from(["none", "off", "bad", "lost", "back"])
ERRORS = {"none": None, "off": off("x"), "bad": bad("x"), "lost": (LinkLostError("x"),), "back": RolledBackError("x")}


@given(
    faults=st.lists(st.lists(FAULTS, max_size=3), min_size=1, max_size=9),
    canary=st.integers(0, 3), sizes=st.lists(st.integers(1, 4), max_size=3), percent=st.integers(0, 100),
    parallel=st.integers(1, 3), dies_after=st.none() | st.integers(1, 9),
)  # fmt: skip
def test_whatever_fails_and_whenever_this_machine_dies_each_is_flashed_once_in_its_turn(
    tmp_path_factory, faults, canary, sizes, percent, parallel, dies_after
):
    folder = tmp_path_factory.mktemp("rollouts")
    names = [f"d{number}" for number in range(len(faults))]
    flashing = FakeFlashing({name: [ERRORS[f] for f in row] for name, row in zip(names, faults, strict=True)})
    plan = planned(names, canary=names[:canary], steps=[Size(devices=size) for size in sizes],
                   max_failures_percent=percent, parallel=parallel)  # fmt: skip
    before = os.fsync
    os.fsync = lambda _: None  # thousands of them, and no disk is cut here
    try:
        _run_and_go_on(folder, plan, flashing, dies_after)
    finally:
        os.fsync = before


def _run_and_go_on(folder, plan, flashing, dies_after):
    heard = Heard(dies_after)
    try:
        result = roll_out(folder, plan, flashing, heard)
        _check(plan, heard, result)
    except HostDiedError:
        (record,) = list_rollouts(folder)
        assert set(record.outcomes) == {outcome.device for outcome in heard.ended_}
    done = {outcome.device for outcome in heard.ended_ if outcome.serves}
    again = Heard()
    result = go_on(folder, flashing, again)
    assert not done & set(again.started_), "what serves it is not asked again"
    flashing.faults.clear()
    result = go_on(folder, flashing)
    assert all(outcome.serves for outcome in result.outcomes)
    assert flashing.commits == dict.fromkeys(plan.devices, 1)
    assert list_rollouts(folder)[0].left == 0


def _check(plan, heard, result):
    turns = [wave.devices for wave in heard.waves if wave.title != "asked once more"]
    in_turn = [name for wave in plan.waves for name in wave.devices]
    first_asked = list(dict.fromkeys(heard.started_))
    assert first_asked == in_turn[: len(first_asked)]
    ended = {}
    for outcome in heard.ended_:
        ended.setdefault(outcome.device, outcome)
    for devices in turns:
        failed = sum(name in ended and ended[name].counts for name in devices)
        allowed = int(plan.max_failures_percent * len(devices) // 100)
        assert failed <= allowed + plan.parallel
        if failed > allowed:
            assert devices == turns[-1], "no wave comes behind one that failed"
    left = [outcome for outcome in result.outcomes if outcome.result == "not started"]
    assert bool(left) == (len(first_asked) < len(in_turn)) == bool(result.stopped)


# The contract of Flashing, which the fake above and the real one pass.


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    bundle(Path(__file__).parents[1] / "golden/dense.tflite", folder / "app.tin", name="dense", version=3)
    return cargo_of(folder / "app.tin")[0]


class Stages:
    def __init__(self):
        self.names = []

    def stage(self, name):
        self.names.append(name)

    def sent(self, done_bytes, size_bytes):
        pass


def deployer(tmp_path):
    return Deployer(store=Store(tmp_path / "store"), log=HostLog(tmp_path / "log.jsonl"))


def local_board(tmp_path, name):
    (tmp_path / name).mkdir()
    return board(name, f"local:{tmp_path / name}")


@pytest.mark.parametrize("real", [False, True], ids=["fake", "real"])
def test_the_contract_of_flashing(tmp_path, app, real):
    there, gone = local_board(tmp_path, "there"), board("gone", "ssh://nobody@127.0.0.1:1")
    flashing = deployer(tmp_path) if real else FakeFlashing({"gone": [off("gone")]})

    first = flashing.flash(there, app, UNSIGNED, Stages())
    assert (first.device, first.changed, first.active.sha256) == ("there", True, app.sha256)
    assert first.sent.size_bytes > 0
    assert len(first.audit_head) == 64

    again = flashing.flash(there, app, UNSIGNED, Stages())
    assert (again.changed, again.active.sha256, again.sent) == (False, app.sha256, Sent())

    heard = Stages()
    with pytest.raises(UnreachableError):
        flashing.flash(gone, app, UNSIGNED, heard)
    assert heard.names == ["asking"]


class FaultyFlashing:
    """The real thing over transports with faults."""

    def __init__(self, tmp_path, faults):
        self._store, self._faults, self.transports = Store(tmp_path / "store"), faults, {}

    def flash(self, device, cargo, permissions, watch):
        if device.name not in self.transports:
            self.transports[device.name] = FaultyTransport(open_device(device))
            self.transports[device.name].faults.extend(self._faults.get(device.name, []))
        transport = self.transports[device.name]
        agent = agent_of(device, transport)
        flasher = Flasher(device, transport, agent=agent, store=self._store, watch=watch, pause=lambda _: None)
        return flasher.flash(cargo, permissions)


def test_over_faulty_links_the_rest_is_flashed_and_each_fault_is_told(tmp_path, app):
    boards = {name: local_board(tmp_path, name) for name in ("good", "cut", "full")}
    flashing = FaultyFlashing(tmp_path, {"cut": [Cut(after_bytes=100)], "full": [Full(after_bytes=50)]})
    Store(tmp_path / "store").packed(app.path, app.sha256)
    plan = replace(planned(boards, parallel=2, max_failures_percent=100), cargo=app)

    result = roll_out(tmp_path / "rollouts", plan, flashing, devices=boards)

    assert results(result) == {"good": "done", "cut": "done", "full": "failed"}
    cut, full = result.outcomes[1:]
    assert cut.sent.resumed_bytes == 100
    assert "is full" in full.error.message or "No space" in full.error.message
    assert result.exit_code == 5
