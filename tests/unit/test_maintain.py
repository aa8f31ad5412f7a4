"""The closed loop over devices in memory: what it decides, where it stops, and that a kill changes nothing."""

import io
import itertools
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tinsmith.compress.maintain.fake import FakeDevices
from tinsmith.compress.maintain.journal import open_journal, read_rounds
from tinsmith.compress.maintain.maintaining import Maintenance
from tinsmith.compress.maintain.plan import EXAMPLE, load_plan
from tinsmith.compress.maintain.results import Bundled, Proven, Recompressed
from tinsmith.compress.maintain.rounds import STEPS
from tinsmith.convert.bundling import bundle
from tinsmith.runtime.audit import AuditLog, verify_log
from tinsmith.runtime.errors import BusyError, DataError, DeviceError, UsageError, VerificationError
from tinsmith.runtime.files import sha256_of

PLAN = """\
version: 1
model: model.tflite
recipe: int8
data: data.npz
devices: [all]
monitors: {one: "http://one", two: "http://two"}
quorum: 50%
budget: {max_drop: 1%}
bundle: {current: app.tin}
rollout: {canary: 1}
work: work
"""


class HostDiedError(BaseException):
    """Nothing may catch it."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, request):
    """Versions 1 and 2 of a real bundle."""
    folder = tmp_path_factory.mktemp("bundles")
    artifact = request.path.parents[1] / "golden" / "dense.tflite"
    for version in (1, 2):
        bundle(artifact, folder / f"{version}.tin", name="dense", version=version)
    return folder


@pytest.fixture
def plan(tmp_path, bundles):
    shutil.copy(bundles / "1.tin", tmp_path / "app.tin")
    (tmp_path / "model.tflite").write_bytes(b"a model")
    return planned(tmp_path)


def planned(folder, *changes):
    text = PLAN
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "plan.yaml").write_text(text)
    return load_plan(folder / "plan.yaml")


def document(*, drift="ok", times=2.0, latency="ok", errors="ok", version="1", captured=20, p95_ms=None):
    statistics = [
        {"side": "inputs", "tensor": "x", "statistic": "mean", "test": "ks", "figure": times, "threshold": 1.0,
         "drifted": drift == "drift"}
    ]  # fmt: skip
    return {
        "model": "app", "version": version, "ok": drift == "ok",
        "drift": {"state": drift, "samples": 100, "statistics": statistics},
        "latency": {"state": latency, "p50_ms": 1.0, "p90_ms": 2.0, "p95_ms": p95_ms, "promised_p50_ms": None},
        "errors": {"state": errors, "faults": 7, "requests": 100, "failures": {}},
        "capture": {"samples": captured, "path": "/srv/app.npz"} if captured else None,
    }  # fmt: skip


def captured(count=20, value=1.0):
    stream = io.BytesIO()
    np.savez(stream, x=np.full((count, 3), value, np.float32))
    return stream.getvalue()


def devices_that(**facts):
    names = ("one", "two", "three")
    return FakeDevices(
        {name: document(**facts) for name in names}, {(name, "/srv/app.npz"): captured() for name in names}
    )


class FakeMaking:
    """Makes files of the same content for the same samples; a bundle is the real one of version 2."""

    def __init__(self, bundles, *, missed=()):
        self._bundles, self._missed, self.made = bundles, missed, []

    def recompress(self, collected, folder):
        self.made.append(collected.samples)
        (folder / "small.tflite").write_bytes(b"small %d" % collected.samples)
        digest = sha256_of(folder / "small.tflite")
        return Recompressed(file="small.tflite", sha256=digest, size_bytes=7, was_sha256="0" * 64, was_bytes=8)

    def prove(self, made, collected, decision, folder):
        assert sha256_of(folder / made.file) == made.sha256
        return Proven(kept=("max-drop: 0 points",), missed=self._missed)

    def bundle(self, made, decision, folder):
        shutil.copy(self._bundles / "2.tin", folder / "app.tin")
        return Bundled(file="app.tin", sha256="1" * 64, version=decision.version, size_bytes=9, signed_by="")


def loop_of(plan, devices, making, pause=lambda _: None):
    return Maintenance(plan, collecting=devices, deploying=devices, making=making, pause=pause)


def run(plan, devices, making, consent=lambda step, said: True, **more):
    with open_journal(plan.work) as journal:
        return loop_of(plan, devices, making).run(journal, consent, **more)


def test_drift_ends_in_a_new_version_on_all_devices(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    found = run(plan, devices, making)

    assert (found.ended.outcome, found.ended.exit_code) == ("done", 0)
    assert [devices.version_of(name) for name in devices.documents] == [2, 2, 2]
    assert making.made == [2 * 16], "a fifth of what two monitored devices captured is kept apart"
    assert (plan.bundle.current).read_bytes() == (bundles / "2.tin").read_bytes()
    assert not (plan.work / "round-1" / "captured").exists(), "samples of people do not stay"
    assert read_rounds(plan.work) == (found,)
    verify_log(plan.work / "journal.jsonl")


def test_where_all_is_well_nothing_is_done(plan, bundles):
    devices, making = devices_that(), FakeMaking(bundles)
    found = run(plan, devices, making, consent=lambda step, said: pytest.fail(step))

    assert (found.ended.outcome, found.ended.exit_code) == ("nothing to do", 0)
    assert making.made == []
    assert not (plan.work / "round-1").exists()


def test_a_miss_of_the_budget_deploys_nothing(plan, bundles):
    devices = devices_that(drift="drift")
    found = run(plan, devices, FakeMaking(bundles, missed=("max-drop: 3 points are lost",)))

    assert (found.ended.outcome, found.ended.exit_code) == ("refused", 1)
    assert "3 points" in found.ended.said
    assert devices.flashes == {"one": 0, "two": 0, "three": 0}
    assert plan.bundle.current.read_bytes() == (bundles / "1.tin").read_bytes()


def test_a_canary_that_fails_ends_it(plan, bundles):
    devices = devices_that(drift="drift")
    devices.broken = {"one"}
    found = run(plan, devices, FakeMaking(bundles))

    assert (found.ended.outcome, found.ended.exit_code) == ("rolled back", 7)
    assert devices.flashes == {"one": 0, "two": 0, "three": 0}


def test_a_wave_that_fails_takes_the_canary_back(plan, bundles):
    devices = devices_that(drift="drift")
    for name in devices.flashed:
        devices._flash(name, bundles / "1.tin")
    devices.broken = {"two"}
    found = run(plan, devices, FakeMaking(bundles))

    assert (found.ended.outcome, found.ended.exit_code) == ("rolled back", 7)
    assert [devices.version_of(name) for name in devices.documents] == [1, 1, 1]
    assert plan.bundle.current.read_bytes() == (bundles / "1.tin").read_bytes()


@pytest.mark.parametrize("ailing", [{"errors": "errors"}, {"latency": "slow"}])
def test_a_canary_whose_monitor_complains_is_taken_back(plan, bundles, ailing):
    devices = devices_that(drift="drift")
    waited = []

    def pause(seconds):
        waited.append(seconds)
        devices.documents["one"] = document(drift="drift", **ailing)

    plan = planned(plan.work.parent, ("canary: 1", "canary: 1, watch_s: 60"))
    with open_journal(plan.work) as journal:
        found = loop_of(plan, devices, FakeMaking(bundles), pause).run(journal, lambda step, said: True)

    assert (found.ended.outcome, waited) == ("rolled back", [60])
    assert devices.flashes == {"one": 1, "two": 0, "three": 0}
    assert devices.version_of("one") is None


def test_a_canary_that_falls_silent_is_taken_back_as_soon_as_it_answers(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    with open_journal(plan.work) as journal, pytest.raises(DeviceError, match="could not be taken back"):
        loop_of(plan, devices, making, lambda _: devices.off.add("one")).run(journal, lambda step, said: True)
    assert devices.version_of("one") == 2

    devices.off.clear()
    found = run(plan, devices, making)
    assert (found.number, found.ended.outcome, devices.version_of("one")) == (1, "rolled back", None)


def test_devices_that_are_off_are_listed_and_the_rest_goes_on(plan, bundles):
    devices = devices_that(drift="drift")
    devices.off = {"two"}
    found = run(plan, devices, FakeMaking(bundles))

    assert (found.ended.outcome, found.ended.exit_code) == ("done", 5)
    assert [look.device for look in found.observe.devices if look.error] == ["two"]
    assert [turn.result for turn in found.waves.devices] == ["later", "done"]


@pytest.mark.parametrize(
    "odd", [{"drift": {"state": "drift", "statistics": [{"drifted": True}]}}, {"latency": []}, {"capture": "no"}]
)
def test_what_is_no_monitor_is_listed_like_one_that_is_off(plan, bundles, odd):
    devices = devices_that(drift="drift")
    devices.documents["two"] |= odd
    found = run(plan, devices, FakeMaking(bundles))

    assert [bool(look.error) for look in found.observe.devices] == [False, True]
    assert (found.ended.outcome, found.ended.exit_code) == ("done", 5)


def test_below_the_quorum_nothing_goes_on(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    devices.off = {"one", "two"}
    with pytest.raises(DeviceError, match="0 of 2"):
        run(plan, devices, making)

    devices.off = {"one", "three"}
    with pytest.raises(DeviceError, match="canary"):
        run(plan, devices, making)
    devices.off = {"two", "three"}
    with pytest.raises(DeviceError, match="0 of 2 devices"):
        run(plan, devices, making)
    devices.off = set()
    assert run(plan, devices, making).ended.outcome == "done"
    assert len(read_rounds(plan.work)) == 1


def test_what_was_answered_once_is_not_answered_again(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    run(plan, devices, making)
    shutil.copy(bundles / "1.tin", plan.bundle.current)

    again = run(plan, devices, making)
    assert (again.ended.outcome, again.ended.exit_code) == ("again", 1)
    assert "labels" in again.ended.said
    assert run(plan, devices, making, again=True).ended.outcome == "done"

    devices.documents["two"] = document(drift="drift", times=5.0)
    assert run(plan, devices, making).decide.verdict == "recompress", "it drifts much further"
    plan.model.write_bytes(b"another model")
    assert run(plan, devices, making).decide.verdict == "recompress", "the model is another one"


def test_a_step_that_failed_is_tried_again(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    devices.captures.clear()
    with pytest.raises(DeviceError, match="0 of 2"):
        run(plan, devices, making)
    devices.captures["one", "/srv/app.npz"] = captured()
    found = run(plan, devices, making)

    assert found.number == 1
    assert [pulled.error == "" for pulled in found.collect.devices] == [True, False]
    assert found.ended.exit_code == 5


@pytest.mark.parametrize(
    "content", [b"no zip", captured(value=np.nan), b"PK\5\6" + bytes(18)], ids=["text", "nan", "empty"]
)
def test_what_a_device_gives_is_not_believed(plan, bundles, content):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    devices.captures["one", "/srv/app.npz"] = content
    found = run(plan, devices, making)

    assert found.collect.devices[0].error
    assert making.made == [16]


def test_without_captures_there_is_nothing_new_to_learn(plan, bundles):
    with pytest.raises(DataError, match="captures"):
        run(plan, devices_that(drift="drift", captured=0), FakeMaking(bundles))


def test_slow_devices_need_no_samples(plan, bundles):
    found = run(plan, devices_that(latency="slow", captured=0), FakeMaking(bundles), lambda step, _: step != "canary")

    assert (found.decide.slow, found.decide.drifting) == (("one", "two"), ())
    assert found.next_step == "canary"


def test_the_share_and_the_bound_of_the_plan_decide(plan, bundles):
    folder = plan.work.parent
    devices = devices_that(p95_ms=12.5)
    devices.documents["two"] = document(p95_ms=9.0)
    act = ("budget:", "act_on: {p95_ms: 10, share: 60%}\nbudget:")
    assert run(planned(folder, act), devices, FakeMaking(bundles)).decide.verdict == "nothing"
    devices.documents["two"] = document(p95_ms=10.5)
    found = run(planned(folder, act), devices, FakeMaking(bundles), lambda *_: False)
    assert (found.decide.verdict, found.decide.slow) == ("recompress", ("one", "two"))
    assert "p95 12.5 ms" in found.decide.reasons[0]


def test_the_version_rises_above_all_that_is_served(plan, bundles):
    found = run(plan, devices_that(drift="drift", version="7"), FakeMaking(bundles), lambda *_: False)
    assert found.decide.version == 8


def test_a_version_that_was_taken_back_is_never_given_again(plan, bundles):
    devices = devices_that(drift="drift")
    devices.broken = {"two"}
    assert run(plan, devices, FakeMaking(bundles)).bundle.version == 2
    assert run(plan, devices, FakeMaking(bundles), lambda *_: False, again=True).decide.version == 3


def test_a_refusal_stops_before_the_step_and_the_next_run_goes_on(plan, bundles):
    devices, making, asked = devices_that(drift="drift"), FakeMaking(bundles), []

    def consent(step, said):
        asked.append(step)
        return step != "bundle"

    assert run(plan, devices, making, consent).next_step == "bundle"
    assert run(plan, devices, making).ended.outcome == "done"
    assert asked == ["collect", "recompress", "bundle"]
    assert making.made == [32]


def test_step_by_step_by_hand(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    for step in STEPS[:-1]:
        with open_journal(plan.work) as journal:
            loop = loop_of(plan, devices, making)
            for other in set(STEPS) - {step}:
                with pytest.raises(UsageError, match=f"stands before {step}"):
                    loop.run_step(journal, other)
            found = loop.run_step(journal, step)
    assert found.ended.outcome == "done"
    assert len(read_rounds(plan.work)) == 1


def test_a_dry_run_finds_out_and_leaves_nothing(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    loop = loop_of(plan, devices, making)
    found = loop.preview(read_rounds(plan.work))

    assert (found.decide.verdict, found.next_step) == ("recompress", "collect")
    for step in STEPS:
        assert loop.foretell(step, found)
    assert not plan.work.exists()
    assert making.made == []


def test_a_plan_that_changes_in_the_middle_is_refused_and_given_up(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    run(plan, devices, making, lambda step, said: step != "waves")
    changed = planned(plan.work.parent, ("max_drop: 1%", "max_drop: 2%"))
    with pytest.raises(UsageError, match="others by now"):
        run(changed, devices, making)
    with open_journal(plan.work) as journal:
        given_up = loop_of(changed, devices, making).give_up(journal)

    assert given_up.ended.outcome == "given up"
    assert devices.version_of("one") is None
    assert run(changed, devices, making).ended.outcome == "done", "what was given up has answered nothing"


def test_two_at_once_are_refused(plan):
    with open_journal(plan.work), pytest.raises(BusyError), open_journal(plan.work):
        pass


def test_a_journal_that_was_changed_is_refused(plan, bundles):
    run(plan, devices_that(drift="drift"), FakeMaking(bundles))
    path = plan.work / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"kept apart", b"kept, well", 1))
    with pytest.raises(VerificationError):
        read_rounds(plan.work)


def test_a_torn_line_counts_as_not_written(plan, bundles):
    devices, making = devices_that(drift="drift"), FakeMaking(bundles)
    run(plan, devices, making, lambda step, said: step != "canary")
    path = plan.work / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-9])

    assert read_rounds(plan.work)[0].next_step == "bundle"
    assert run(plan, devices, making).ended.outcome == "done"
    verify_log(path)


# Kills: each thing that has an effect is counted, and this machine dies before or behind the n-th.


class Doom:
    """Dies at a moment; None lives for ever."""

    def __init__(self, at):
        self.at, self.moment = at, 0

    def passes(self):
        self.moment += 1
        if self.moment == self.at:
            raise HostDiedError

    def around(self, call):
        def mortal(*arguments, **named):
            self.passes()
            result = call(*arguments, **named)
            self.passes()
            return result

        return mortal

    def around_method(self, method):
        def mortal(log, *arguments, **named):
            self.passes()
            result = method(log, *arguments, **named)
            self.passes()
            return result

        return mortal

    def over(self, target, *names):
        calls = {name: self.around(getattr(target, name)) for name in names}
        rest = {name: getattr(target, name) for name in ("devices", "waves") if hasattr(target, name)}
        return SimpleNamespace(**rest, **calls)


def until_killed(plan, devices, making, doom, monkeypatch):
    ports = doom.over(devices, "look", "pull", "roll_out", "roll_back")
    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "append", doom.around_method(AuditLog.append))
        with open_journal(plan.work) as journal:
            loop = Maintenance(
                plan, collecting=ports, deploying=ports, making=doom.over(making, "recompress", "prove", "bundle"),
                pause=lambda _: None,
            )  # fmt: skip
            return loop.run(journal, lambda step, said: True)


def end_of(folder, bundles, at, monkeypatch, *, broken=(), missed=()):
    """What everything comes to where this machine dies once at a moment; and whether it did."""
    folder.mkdir()
    shutil.copy(bundles / "1.tin", folder / "app.tin")
    (folder / "model.tflite").write_bytes(b"a model")
    plan, devices, making = planned(folder), devices_that(drift="drift"), FakeMaking(bundles, missed=missed)
    for name in devices.flashed:
        devices._flash(name, bundles / "1.tin")
    devices.broken = set(broken)
    died = False
    try:
        until_killed(plan, devices, making, Doom(at), monkeypatch)
    except HostDiedError:
        died = True
        until_killed(plan, devices, making, Doom(None), monkeypatch)
    verify_log(plan.work / "journal.jsonl")
    found = read_rounds(plan.work)[0]  # whoever dies behind the last line has ended it, and begins another
    served = [devices.version_of(name) for name in devices.documents]
    turns = [rolled and replace(rolled, devices=()) for rolled in (found.canary, found.waves, found.rollback)]
    kept = replace(found, digest="", observe=None, canary=None, waves=None, rollback=None)
    ended = (kept, turns, served, sha256_of(folder / "app.tin"))
    return ended, (max(devices.flashes.values()), died)


@pytest.mark.parametrize(
    "course", [{}, {"broken": ["three"]}, {"missed": ["max-drop"]}], ids=["done", "rolled back", "refused"]
)
def test_a_kill_at_any_moment_comes_to_the_same_end(tmp_path, bundles, monkeypatch, course):
    monkeypatch.setattr("os.fsync", lambda _: None)  # it is this program that dies, and not the machine
    undisturbed, (flashes, _) = end_of(tmp_path / "whole", bundles, None, monkeypatch, **course)
    for moment in itertools.count(1):
        ended, (times, died) = end_of(tmp_path / f"{moment}", bundles, moment, monkeypatch, **course)
        if not died:
            break
        assert (ended, times) == (undisturbed, flashes), moment
    assert moment > 20


# Plans


def test_the_example_is_a_plan(tmp_path):
    (tmp_path / "plan.yaml").write_text(EXAMPLE)
    plan = load_plan(tmp_path / "plan.yaml")

    assert plan.bounds.max_drop == pytest.approx(0.005)
    assert plan.orders.waves == "10%,50%,100%"
    assert not plan.orders.unsigned
    assert plan.model == tmp_path / "model.keras"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("work: work", "work: work\nwork_folder: x", r"plan\.yaml:12: work_folder"),
        ("max_drop: 1%", "max_drop: much", r"plan\.yaml:8: budget\.max_drop"),
        ("{max_drop: 1%}", "{}", "bounds nothing"),
        ("quorum: 50%", "quorum: 150%", r"plan\.yaml:7: quorum"),
        ("canary: 1", "canary: 1, window_s: -1", r"plan\.yaml:10: rollout\.window_s"),
        ("devices: [all]", "devices: []", r"plan\.yaml:5: devices"),
        ("recipe: int8", "", "recipe"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_with_its_line(plan, before, after, said):
    with pytest.raises(UsageError, match=said):
        planned(plan.work.parent, (before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("devices: [all]", "devices: [nobody]"),
        ("devices: [all]", "devices: [one]"),
        ("canary: 1", "canary: some"),
        ("recipe: int8", "recipe: int9"),
        ("current: app.tin", "current: gone.tin"),
    ],
)
def test_what_can_not_be_is_said_before_anything_is_asked(plan, before, after):
    with pytest.raises((UsageError, DataError)):
        loop_of(planned(plan.work.parent, (before, after)), devices_that(), FakeMaking(None))
