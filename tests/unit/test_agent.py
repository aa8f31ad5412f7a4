"""What the agent takes, refuses and says; how it survives a cut of power is in test_agent_cuts."""

import errno
import fcntl
import hashlib
import json
import lzma
import os
from dataclasses import replace
from pathlib import Path

import bsdiff4
import pytest

from tinsmith.runtime.agent.answering import answer
from tinsmith.runtime.agent.answers import (
    Activated,
    DeviceFacts,
    DeviceStatus,
    InstalledBundle,
    MissingBytes,
    Received,
    RolledBack,
    answer_json,
)
from tinsmith.runtime.agent.board import BUNDLE, Board
from tinsmith.runtime.agent.clock import Moment
from tinsmith.runtime.agent.filesystem import FileSystem
from tinsmith.runtime.agent.requests import (
    Activate,
    Boot,
    Commit,
    Facts,
    Health,
    Install,
    Missing,
    Receive,
    Rollback,
    Status,
    read_request,
    request_json,
)
from tinsmith.runtime.agent.trying import Tried
from tinsmith.runtime.artifact import Artifact, Lineage
from tinsmith.runtime.audit import verify_log
from tinsmith.runtime.bundle.manifest import Manifest, Settings
from tinsmith.runtime.bundle.secret_key import new_secret_key
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.errors import (
    DataError,
    DeviceError,
    ModelLoadError,
    OutputError,
    RolledBackError,
    UsageError,
    VerificationError,
)
from tinsmith.runtime.fields import fields_of
from tinsmith.runtime.stages import Stages
from tinsmith.runtime.tensors import TensorSpec

KEY = new_secret_key()
SPEC = TensorSpec(name="x", dtype="float32", shape=(None, 2))
START = Moment(wall_s=1e9, uptime_s=50.0, boot_id="one")


def digest(content):
    return hashlib.sha256(content).hexdigest()


def make(tmp_path, version, content=None, name="cats", **keys):
    content = content or f"TFL3 {version}".encode() * 500
    artifact = Artifact(
        path=Path("small.tflite"), format="tflite", sha256=digest(content), size_bytes=len(content), inputs=(SPEC,),
        outputs=(SPEC,), operators=(),
        lineage=Lineage(source="m", source_format="keras", source_sha256="0" * 64, steps=()),
    )  # fmt: skip
    settings = Settings(device="local", engine="litert")
    manifest = Manifest(name=name, version=version, artifact=artifact, parts=(), settings=settings)
    path = tmp_path / f"{name}-{version}.tin"
    write_bundle(path, manifest, {"artifact/small.tflite": content}, **keys)
    return path.read_bytes()


class Device:
    """A board whose clock and disk the test holds, and that takes any artifact which says so."""

    def __init__(self, base):
        self.base = base
        self.moment = START
        self.files = None
        self.stages = None
        self.tried = []

    @property
    def board(self):
        return Board(self.base, files=self.files, now=lambda: self.moment)

    def ask(self, request):
        self.stages = Stages("request")
        return answer(self.board, request, self.stages, attempt=self._try)

    def _try(self, candidate, stages):
        with stages.at("load"):
            self.tried.append(candidate)
            if b"broken" in candidate.path.read_bytes():
                raise ModelLoadError("the engine died on it")
        return Tried(engine="litert", version="2.3.0")

    def put(self, content):
        self.ask(Status())
        (self.base / "parts" / f"{digest(content)}.part").write_bytes(content)

    def receive(self, content, sent=None, form="whole", base=""):
        sent = content if sent is None else sent
        self.put(sent)
        return self.ask(
            Receive(sha256=digest(content), size_bytes=len(content), part=digest(sent), form=form, base=base)
        )

    def install(self, content, **settings):
        self.receive(content)
        return self.ask(Install(sha256=digest(content), **{"allow_unsigned": True, **settings}))

    def activate(self, content, window_s=60):
        return self.ask(Activate(sha256=digest(content), window_s=window_s))

    def flash(self, content, **settings):
        self.install(content, **settings)
        self.activate(content)
        return self.ask(Commit(sha256=digest(content)))

    def later(self, seconds, boot="one"):
        self.moment = replace(self.moment, uptime_s=self.moment.uptime_s + seconds, boot_id=boot)

    def events(self):
        return [json.loads(line)["event"] for line in (self.base / "audit.jsonl").read_text().splitlines()]

    @property
    def active(self):
        found = self.ask(Status()).active
        return None if found is None else found.version


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path / "board")


def test_an_update_goes_into_the_other_slot_and_the_old_one_stays(device, tmp_path):
    one, two = make(tmp_path, 1), make(tmp_path, 2)
    first = device.flash(one)
    before = {path: path.read_bytes() for path in (device.base / "slots/a").rglob("*") if path.is_file()}
    second = device.flash(two)

    assert (first.active.slot, second.active.slot) == ("a", "b")
    assert {path: path.read_bytes() for path in (device.base / "slots/a").rglob("*") if path.is_file()} == before
    assert str((device.base / "current").readlink()) == "slots/b"
    assert (device.base / "current" / BUNDLE).read_bytes() == two
    assert (device.base / "current" / second.active.artifact).read_bytes() == b"TFL3 2" * 500
    status = device.ask(Status())
    assert (status.active.version, status.previous.version, status.highest) == (2, 1, {"cats": 2})
    assert device.events() == ["trial", "commit"] * 2
    assert not list((device.base / "parts").iterdir())


def test_every_step_may_be_asked_twice(device, tmp_path):
    one, two = make(tmp_path, 1), make(tmp_path, 2)
    device.flash(one)
    assert device.receive(two) == device.receive(two) == Received(received=True)
    assert device.install(two).bundle == device.install(two).bundle
    tried = device.activate(two)
    device.later(5)
    assert device.activate(two) == tried
    assert device.install(two) == InstalledBundle(bundle=tried.active)
    done = device.ask(Commit(sha256=digest(two)))
    assert device.ask(Commit(sha256=digest(two))) == device.activate(two) == done
    back = device.ask(Rollback(reason="slow"))
    assert device.ask(Rollback(reason="slow")) == back
    assert (back.active.version, back.taken_back.version) == (1, 2)
    assert device.events() == ["trial", "commit"] * 2 + ["rollback"]


@pytest.mark.parametrize(("later", "boot", "active"), [(59, "one", 2), (61, "one", 1), (1, "two", 1)])
@pytest.mark.parametrize("request_", [Status(), Boot()])
def test_a_trial_ends_with_its_time_or_its_boot(device, tmp_path, later, boot, active, request_):
    device.flash(make(tmp_path, 1))
    two = make(tmp_path, 2)
    device.install(two)
    device.activate(two)
    device.moment = replace(device.moment, wall_s=2e9)  # somebody sets the clock
    device.later(later, boot)

    status = device.ask(request_)
    assert (status.active.version, status.on_trial) == (active, active == 2)
    assert bool(status.resolved) == (active == 1)
    if active == 1:
        with pytest.raises(RolledBackError, match=r"version 2 of cats was taken back: (nobody|the device)"):
            device.ask(Commit(sha256=digest(two)))
        assert device.flash(two).active.version == 2


def test_a_first_update_is_taken_back_to_nothing(device, tmp_path):
    one = make(tmp_path, 1)
    device.install(one)
    assert device.activate(one).on_trial
    back = device.ask(Rollback(reason="x"))
    assert back.active is None
    assert not os.path.lexists(device.base / "current")
    assert device.ask(Status()).highest == {}
    with pytest.raises(UsageError, match="nothing to go back to"):
        Device(tmp_path / "other").ask(Rollback(reason="x"))


class TestVersions:
    def test_an_older_version_is_refused_even_after_a_rollback(self, device, tmp_path):
        device.flash(make(tmp_path, 3))
        device.flash(make(tmp_path, 5))
        device.ask(Rollback(reason="x"))
        with pytest.raises(VerificationError, match="version 4 of cats, and this device has had version 5"):
            device.flash(make(tmp_path, 4))
        assert (device.stages.now, device.active) == ("version", 3)
        with pytest.raises(VerificationError, match="another bundle as version 5"):
            device.flash(make(tmp_path, 5, b"TFL3 other"))
        assert device.flash(make(tmp_path, 5)).active.version == 5
        assert device.flash(make(tmp_path, 4), allow_downgrade=True).active.version == 4
        assert device.ask(Status()).highest == {"cats": 5}
        assert device.flash(make(tmp_path, 1, name="dogs")).active.name == "dogs"

    def test_a_version_that_was_never_committed_does_not_count(self, device, tmp_path):
        device.flash(make(tmp_path, 1))
        bad = make(tmp_path, 9)
        device.install(bad)
        device.activate(bad)
        device.ask(Rollback(reason="it was slow"))
        assert device.flash(make(tmp_path, 2)).active.version == 2


class TestTrust:
    def test_a_device_with_a_key_takes_nothing_else_whatever_is_asked(self, device, tmp_path):
        device.ask(Status())
        (device.base / "trusted/k.pub").write_text(KEY.public.to_text())
        for content in (make(tmp_path, 1), make(tmp_path, 1, signing_key=new_secret_key())):
            with pytest.raises(VerificationError, match="signed"):
                device.install(content, allow_unsigned=True)
            assert device.stages.now == "signature"
        signed = make(tmp_path, 1, signing_key=KEY)
        assert device.install(signed, allow_unsigned=False).bundle.signed_by == device.ask(Facts()).keys[0]
        assert device.events() == ["refusal"] * 2

    def test_a_device_without_a_key_takes_unsigned_ones_only_when_asked(self, device, tmp_path):
        with pytest.raises(VerificationError, match="trusts no key"):
            device.install(make(tmp_path, 1), allow_unsigned=False)

    def test_an_encrypted_artifact_never_lies_in_a_slot(self, device, tmp_path):
        content = make(tmp_path, 1, encryption_key=b"k" * 32)
        with pytest.raises(UsageError, match="no key for it"):
            device.install(content)
        (device.base / "decryption.key").write_bytes(b"k" * 32)
        assert device.flash(content).active.artifact == ""
        assert not device.tried[-1].path.exists()
        assert [path.name for path in (device.base / "slots/a").iterdir()] == [BUNDLE]


class TestRefusals:
    def test_a_model_that_does_not_load_leaves_the_old_one_and_a_line(self, device, tmp_path):
        device.flash(make(tmp_path, 1))
        with pytest.raises(ModelLoadError):
            device.install(make(tmp_path, 2, b"TFL3 broken"))
        assert (device.stages.now, device.active) == ("load", 1)
        assert device.events()[-1] == "refusal"
        assert not (device.base / "slots/b").exists()
        assert device.flash(make(tmp_path, 3)).active.version == 3

    def test_nothing_is_installed_while_an_update_is_on_trial(self, device, tmp_path):
        device.flash(make(tmp_path, 1))
        two, three = make(tmp_path, 2), make(tmp_path, 3)
        device.install(two)
        device.activate(two)
        with pytest.raises(DeviceError, match="on trial"):
            device.install(three)
        with pytest.raises(DeviceError, match="on trial"):
            device.activate(three)
        with pytest.raises(UsageError, match="not on trial"):
            device.ask(Commit(sha256=digest(three)))

    def test_a_second_host_is_told_so_and_still_sees_the_status(self, device, tmp_path):
        one = make(tmp_path, 1)
        device.flash(one)
        with (device.base / "lock").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            for request in (Rollback(reason="x"), Boot(), Activate(sha256=digest(one), window_s=1)):
                with pytest.raises(DeviceError, match="somebody else"):
                    device.ask(request)
            status = device.ask(Status())
        assert (status.busy, status.active.version) == (True, 1)
        assert not device.ask(Status()).busy

    def test_a_host_waits_for_a_look_that_takes_moments(self, tmp_path, monkeypatch):
        board = Board(tmp_path / "board", patience_s=60)
        with board.locked():
            held = os.open(board.base / "lock", os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr("tinsmith.runtime.agent.board.time.sleep", lambda _: fcntl.flock(held, fcntl.LOCK_UN))

        assert answer(board, Boot(), Stages("request")).active is None
        os.close(held)

    def test_a_damaged_slot_is_not_gone_back_to(self, device, tmp_path):
        device.flash(make(tmp_path, 1))
        device.flash(make(tmp_path, 2))
        (device.base / "slots/a/artifact/small.tflite").write_bytes(b"TFL3 rot")
        with pytest.raises(VerificationError, match="version 1 in slot a is damaged"):
            device.ask(Rollback(reason="x"))
        assert device.active == 2
        three = make(tmp_path, 3)
        device.install(three)
        device.activate(three)
        (device.base / "slots/b" / BUNDLE).write_bytes(b"")
        device.later(1, "two")
        status = device.ask(Status())
        assert (status.active.version, status.on_trial, status.previous) == (3, False, None)
        assert "damaged: the update stays" in status.resolved

    def test_what_changed_since_it_was_installed_is_not_activated(self, device, tmp_path):
        one = make(tmp_path, 1)
        device.install(one)
        (device.base / "slots/a" / BUNDLE).write_bytes(one + b"x")
        with pytest.raises(VerificationError, match="has changed"):
            device.activate(one)

    def test_a_damaged_state_is_said_and_what_is_served_stays(self, device, tmp_path):
        device.flash(make(tmp_path, 1))
        (device.base / "state.json").write_text("{")
        with pytest.raises(VerificationError, match="cannot read the state of the device"):
            device.ask(Status())
        assert str((device.base / "current").readlink()) == "slots/a"


def test_health_is_whether_what_is_served_is_whole_and_runs(device, tmp_path):
    with pytest.raises(UsageError, match="serves nothing"):
        device.ask(Health())
    one = make(tmp_path, 1)
    done = device.flash(one)
    with (device.base / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = device.ask(Health())
    assert (found.bundle, found.durations_ms.keys()) == (done.active, {"hash", "load"})
    (device.base / "slots/a/artifact/small.tflite").write_bytes(b"TFL3 rot")
    with pytest.raises(VerificationError, match="has changed since"):
        device.ask(Health())
    assert device.stages.now == "hash"


@pytest.mark.parametrize("slot", ["a", "b"])
def test_flashing_a_damaged_bundle_again_mends_it(device, tmp_path, slot):
    one, two = make(tmp_path, 1), make(tmp_path, 2)
    device.flash(one)
    device.flash(two)
    content = {"a": one, "b": two}[slot]
    (device.base / "slots" / slot / "artifact/small.tflite").write_bytes(b"TFL3 rot")
    about = Missing(sha256=digest(content), size_bytes=9, part=digest(content), part_bytes=9)
    assert device.ask(about).there == ""
    done = device.flash(content, allow_downgrade=True)
    assert device.flash(content) == done
    assert (done.active.sha256, done.active.slot) == (digest(content), "a")
    assert device.ask(Health()).bundle == done.active


class TestReceiving:
    def test_what_has_come_is_told_with_its_hash(self, device, tmp_path):
        one = make(tmp_path, 1)
        device.put(one)
        part = device.base / "parts" / f"{digest(one)}.part"
        part.write_bytes(one[:10])
        about = Missing(sha256=digest(one), size_bytes=len(one), part=digest(one), part_bytes=len(one))
        assert device.ask(about) == MissingBytes(there="", part_bytes=10, part_prefix=digest(one[:10]), bases=())
        part.write_bytes(one + b"more")
        assert device.ask(about).part_bytes == 0
        device.receive(one)
        assert device.ask(about).there == "parts"
        device.install(one)
        assert device.ask(about).there == "slot"
        device.activate(one)
        found = device.ask(about)
        assert (found.there, found.bases[0].sha256) == ("active", digest(one))

    @pytest.mark.parametrize("form", ["lzma", "bsdiff"])
    def test_packed_and_patched_bundles_come_out_whole(self, device, tmp_path, form):
        one, two = make(tmp_path, 1), make(tmp_path, 2)
        device.flash(one)
        sent = lzma.compress(two) if form == "lzma" else bsdiff4.diff(one, two)
        assert device.receive(two, sent, form, digest(one) if form == "bsdiff" else "").received
        assert [path.read_bytes() for path in (device.base / "parts").iterdir()] == [two]

    def test_a_patch_against_something_else_asks_for_the_whole(self, device, tmp_path):
        one, two = make(tmp_path, 1), make(tmp_path, 2)
        found = device.receive(two, bsdiff4.diff(one, two), "bsdiff", digest(one))
        assert not found.received
        assert "not on the device" in found.reason
        device.flash(one)
        (device.base / "slots/a" / BUNDLE).write_bytes(b"rot")
        assert not device.receive(two, bsdiff4.diff(one, two), "bsdiff", digest(one)).received

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda one: (lzma.compress(one + b"x"), "lzma"), "holds more"),
            (lambda one: (lzma.compress(one[:-1] + b"x"), "lzma"), "sha256 differs"),
            (lambda one: (lzma.compress(one)[:-9], "lzma"), "cut off"),
            (lambda one: (b"\xfd7zXZ\0" + bytes(90), "lzma"), "damaged"),
            (lambda one: (lzma.compress(bytes(50_000_000)), "lzma"), "holds more"),
        ],
    )
    def test_what_is_something_else_is_refused_and_taken_away(self, device, tmp_path, spoil, said):
        one = make(tmp_path, 1)
        sent, form = spoil(one)
        with pytest.raises(VerificationError, match=said):
            device.receive(one, sent, form)
        assert not list((device.base / "parts").iterdir())

    def test_a_tampered_part_is_refused_and_a_missing_one_named(self, device, tmp_path):
        one = make(tmp_path, 1)
        request = Receive(sha256=digest(one), size_bytes=len(one), part=digest(one), form="whole")
        device.put(one)
        (part,) = (device.base / "parts").iterdir()
        part.write_bytes(one[:-1] + b"x")
        with pytest.raises(VerificationError, match="not what was sent"):
            device.ask(request)
        with pytest.raises(DataError, match="nothing has been sent"):
            device.ask(request)

    def test_parts_that_nobody_went_on_with_are_swept(self, device, tmp_path):
        one, two = make(tmp_path, 1), make(tmp_path, 2)
        for content, age_s in ((one, 90_000), (two, 80_000)):
            device.put(content)
            path = device.base / "parts" / f"{digest(content)}.part"
            os.utime(path, (START.wall_s - age_s,) * 2)
        device.ask(Status())
        assert [path.name for path in (device.base / "parts").iterdir()] == [f"{digest(two)}.part"]


class FullDisk(FileSystem):
    """Has no room from one step on."""

    def __init__(self, steps):
        self.left = steps

    def step(self, what, path):
        if what in ("create", "write", "make folder", "symlink"):
            self.left -= 1
            if self.left < 0:
                raise OutputError.from_os_error(path, OSError(errno.ENOSPC, "No space left on device"))


def test_a_full_disk_leaves_the_old_one_and_the_next_try_ends_with_the_new_one(device, tmp_path):
    one, two = make(tmp_path, 1), make(tmp_path, 2)
    device.flash(one)
    refused = 0
    for steps in range(40):
        device.files = FullDisk(steps)
        device.put(two)
        try:
            device.flash(two)
        except OutputError:
            refused += 1
        else:
            break
        assert (device.base / "current" / BUNDLE).read_bytes() in (one, two)
        assert device.ask(Status()).active.version in (1, 2)
        device.files = None
        device.later(1, f"boot {steps}")
        assert device.active == 1
        assert (device.base / "current" / BUNDLE).read_bytes() == one
    assert refused > 5
    device.files = None
    assert device.active == 2
    verify_log(device.base / "audit.jsonl")


def test_a_real_full_disk_names_what_to_do(small_disk, tmp_path):
    device = Device(small_disk / "board")
    device.flash(make(tmp_path, 1))
    big = make(tmp_path, 2, os.urandom(60_000))
    packed = lzma.compress(big)[:100]
    with pytest.raises(OutputError, match=r"bytes, and .* are free") as caught:
        device.receive(big, packed, "lzma")
    assert "free some space on the device" in caught.value.hint
    assert device.active == 1


class TestDocuments:
    A = "a" * 64

    @pytest.mark.parametrize(
        "request_",
        [
            Facts(),
            Status(),
            Boot(),
            Health(time_limit_s=5.0),
            Missing(sha256=A, size_bytes=5, part=A, part_bytes=4),
            Receive(sha256=A, size_bytes=5, part=A, form="whole"),
            Receive(sha256=A, size_bytes=5, part=A, form="bsdiff", base=A),
            Install(sha256=A, allow_unsigned=True, allow_downgrade=True, time_limit_s=5.0),
            Activate(sha256=A, window_s=60.0),
            Commit(sha256=A),
            Rollback(reason="slow"),
        ],
    )
    def test_a_request_comes_back_and_nothing_beside_it(self, request_):
        document = request_json(request_)
        assert read_request(json.dumps(document).encode()) == request_
        with pytest.raises(DataError, match="unknown key: more"):
            read_request(json.dumps({**document, "more": 1}).encode())
        for key in document:
            with pytest.raises(DataError):
                read_request(json.dumps({k: v for k, v in document.items() if k != key}).encode())

    def test_hosts_read_answers_back(self, device, tmp_path):
        one, two = make(tmp_path, 1), make(tmp_path, 2)
        about = Missing(sha256=digest(two), size_bytes=9, part=digest(two), part_bytes=9)
        device.flash(one)
        given = [device.ask(Facts()), device.receive(two), device.install(two), device.ask(about), device.activate(two)]
        given += [device.ask(Status()), device.ask(Rollback(reason="x"))]
        kinds = [DeviceFacts, Received, InstalledBundle, MissingBytes, Activated, DeviceStatus, RolledBack]
        for found, kind in zip(given, kinds, strict=True):
            fields = fields_of(json.dumps(answer_json(found)).encode(), of="the answer")
            fields.schema(1)
            assert kind.read(fields) == found
            fields.end()


def test_facts_need_no_board_and_leave_none(device):
    facts = device.ask(Facts())
    assert facts.engines["litert"]
    assert facts.ram_bytes > 0
    assert facts.status.active is None
    assert not device.base.exists()
