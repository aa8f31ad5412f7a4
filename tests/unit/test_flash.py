"""Flash over a device in a folder: its agent answers in this process, the way to it has faults."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path, PurePosixPath

import bsdiff4
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.asking import Agent
from tinsmith.devices.device import Device
from tinsmith.devices.flashing.agents import agent_of
from tinsmith.devices.flashing.deploying import cargo_of, check_cargo
from tinsmith.devices.flashing.differing import write_patch
from tinsmith.devices.flashing.flash import Flasher, Permissions
from tinsmith.devices.flashing.store import Store
from tinsmith.devices.transports.faults import Cut, FaultyTransport, Full
from tinsmith.devices.transports.local import LocalTransport
from tinsmith.devices.transports.protocol import Ran
from tinsmith.runtime.agent.answering import answer
from tinsmith.runtime.agent.answers import NOT_RUNNING, DeviceStatus, answer_json
from tinsmith.runtime.agent.board import Board
from tinsmith.runtime.agent.clock import Moment
from tinsmith.runtime.agent.requests import Health, Rollback, Status, read_request
from tinsmith.runtime.agent.trying import Tried
from tinsmith.runtime.artifact import Artifact, Lineage
from tinsmith.runtime.audit import verify_log
from tinsmith.runtime.bundle.manifest import Manifest, Settings
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.errors import (
    DataError,
    DeviceError,
    LinkLostError,
    NoRoomError,
    RolledBackError,
    TinsmithError,
    UnreachableError,
    UnsupportedOperatorError,
    UsageError,
    VerificationError,
    error_of,
)
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.profile import load_profile
from tinsmith.runtime.stages import Stages
from tinsmith.runtime.tensors import TensorSpec

SPEC = TensorSpec(name="x", dtype="float32", shape=(None, 2))
FREE = Permissions(unsigned=True, window_s=30)
BLOCK = 1 << 12  # as the tests' transport puts files


class Board1(LocalTransport):
    """A device whose agent runs in this process, on a clock that the tests move."""

    def __init__(self, base):
        super().__init__()
        self.board = Board(base, now=lambda: self.moment)
        self.moment = Moment(wall_s=1e9, uptime_s=50.0, boot_id="one")
        self.healthy = True
        self.asked = []

    def run(self, arguments, *, stdin=b"", time_limit_s):
        said, code = [], 0
        for line in stdin.splitlines():
            request = read_request(line)
            self.asked.append(type(request).__name__)
            stages = Stages("request")
            try:
                said.append(answer_json(answer(self.board, request, stages, attempt=self._try)))
            except TinsmithError as error:
                facts = {"code": error.code, "exit_code": error.exit_code, "message": error.message}
                said.append({"schema": 1, "error": {**facts, "hint": error.hint, "stage": stages.now}})
                code = error.exit_code
                break
        return Ran(code=code, stdout="\n".join(map(json.dumps, said)).encode(), stderr=b"")

    def put(self, source, destination, *, offset=0, time_limit_s, sent=None):
        """Small blocks, so that a cut falls into the middle."""
        with source.open("rb") as stream, Path(destination).open("r+b" if offset else "wb") as target:
            stream.seek(offset)
            target.truncate(offset)
            target.seek(offset)
            while block := stream.read(BLOCK):
                target.write(block)
                target.flush()
                if sent:
                    sent(len(block))

    def _try(self, candidate, stages):
        if not self.healthy:
            raise VerificationError("the output is off by 3")
        return Tried(engine="litert", version="2", golden="8 samples")


class Silent:
    def stage(self, name):
        pass

    def sent(self, done_bytes, size_bytes):
        pass


def noise(count, seed=0):
    return random.Random(seed).randbytes(count)


def make(folder, version, content, name="cats", artifact="small.tflite"):
    import hashlib

    made = Artifact(
        path=Path(artifact), format="tflite", sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content),
        inputs=(SPEC,), outputs=(SPEC,), operators=(),
        lineage=Lineage(source="m", source_format="keras", source_sha256="0" * 64, steps=()),
    )  # fmt: skip
    settings = Settings(device="local", engine="litert")
    manifest = Manifest(name=name, version=version, artifact=made, parts=(), settings=settings)
    path = folder / f"{name}-{version}-{len(content)}.tin"
    write_bundle(path, manifest, {f"artifact/{artifact}": content})
    return path


@pytest.fixture
def there(tmp_path):
    return Board1(tmp_path / "board")


@pytest.fixture
def flash(tmp_path, there):
    """Flash a bundle: (path, permissions, transport, between) -> Deployment; ``between`` runs in the health window."""
    device = Device(
        name="kitchen", profile=load_profile("local"), profile_name="local", address="local",
        base=str(there.board.base),
    )  # fmt: skip
    store = Store(tmp_path / "store")

    def flashed(path, permissions=FREE, transport=None, between=lambda: None):
        cargo, _ = cargo_of(path)
        pause = lambda _: between()  # noqa: E731 - one line says it
        way = transport or there
        flasher = Flasher(device, way, agent=agent_of(device, way), store=store, watch=Silent(), pause=pause)
        return flasher.flash(cargo, permissions)

    return flashed


def status(there):
    agent = Agent(device="kitchen", transport=there, base=PurePosixPath(there.board.base))
    return agent.ask(Status(), DeviceStatus)


def test_the_first_bundle_is_served_and_the_device_and_the_deployment_say_the_same(flash, there, tmp_path):
    path = make(tmp_path, 1, noise(40_000))
    done = flash(path)
    assert (done.changed, done.before, done.active.version, done.active.sha256) == (True, None, 1, sha256_of(path))
    assert (done.engine, done.golden, done.audit_head) == ("litert", "8 samples", status(there).audit_head)
    assert done.sent.size_bytes <= path.stat().st_size
    assert not status(there).on_trial
    assert verify_log(there.board.audit_path).lines == 2


def test_a_device_whose_server_does_not_run_says_so_and_what_starts_it(flash, there, tmp_path):
    base = there.board.base
    base.mkdir()
    (base / "serve").touch()
    models = [{"name": "app", "path": str(base / "current/app.tin")}]
    (base / "server.json").write_text(json.dumps({"host": "127.0.0.1", "port": 1, "models": models}))

    done = flash(make(tmp_path, 1, noise(4_000)))

    assert (done.served, done.start) == (NOT_RUNNING, str(base / "serve"))


def test_the_same_bundle_again_sends_nothing_and_changes_nothing(flash, there, tmp_path):
    path = make(tmp_path, 1, noise(40_000))
    flash(path)
    before, way = status(there), FaultyTransport(there)
    done = flash(path, transport=way)
    assert (done.changed, done.sent.form, way.put_bytes) == (False, "", 0)
    assert status(there) == before


def test_a_bundle_that_changed_a_little_goes_as_a_small_patch_even_when_its_file_has_another_name(
    flash, there, tmp_path
):
    weights = bytearray(noise(60_000))
    flash(make(tmp_path, 1, bytes(weights)))
    for at in range(0, len(weights), 97):
        weights[at] ^= 1
    path = make(tmp_path, 2, bytes(weights), artifact="other.tflite")
    way = FaultyTransport(there)
    done = flash(path, transport=way)
    assert (done.sent.form, done.before.version, done.active.version) == ("bsdiff", 1, 2)
    assert way.put_bytes == done.sent.size_bytes < 6_000


def test_a_patch_whose_base_is_damaged_on_the_device_is_followed_by_the_whole(flash, there, tmp_path):
    flash(make(tmp_path, 1, noise(60_000)))
    (there.board.slot(there.board.serving()) / "app.tin").write_bytes(b"rot")
    done = flash(make(tmp_path, 2, noise(60_000)[:-1] + b"x"))
    assert (done.active.version, done.sent.form) == (2, "whole")


def test_what_packs_well_is_sent_packed_once_that_is_done(flash, tmp_path, there):
    path = make(tmp_path, 1, b"0123456789" * 200_000)
    cargo, _ = cargo_of(path)
    Store(tmp_path / "store").packed(path, cargo.sha256)
    done = flash(path)
    assert done.sent.form == "lzma"
    assert done.sent.size_bytes < path.stat().st_size / 100
    assert list((there.board.base / "parts").iterdir()) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_link_cut_anywhere_is_gone_on_from_and_no_byte_is_sent_twice_beyond_a_block(flash, there, tmp_path, seed):
    path = make(tmp_path, 1, noise(100_000))
    way = FaultyTransport(there)
    cuts = sorted(random.Random(seed).sample(range(path.stat().st_size), 3))
    for at, before in zip(cuts, [0, *cuts], strict=False):
        way.faults.append(Cut(after_bytes=at - before))
        with pytest.raises(LinkLostError):
            flash(path, transport=way)
        assert status(there).active is None
    done = flash(path, transport=way)
    assert done.active.version == 1
    assert path.stat().st_size <= way.put_bytes <= path.stat().st_size + len(cuts) * BLOCK


def test_a_full_disk_is_said_with_the_device_and_leaves_what_is_served(flash, there, tmp_path):
    flash(make(tmp_path, 1, noise(30_000)))
    way = FaultyTransport(there)
    way.faults.append(Full(after_bytes=1000))
    with pytest.raises(NoRoomError, match="disk is full"):
        flash(make(tmp_path, 2, noise(30_000, seed=2)), transport=way)
    assert status(there).active.version == 1


def test_bytes_that_changed_on_the_way_are_refused_and_sent_anew(flash, there, tmp_path):
    path = make(tmp_path, 1, noise(30_000))

    class Flipping(Board1):
        def put(self, source, destination, **keys):
            super().put(source, destination, **keys)
            content = bytearray(Path(destination).read_bytes())
            content[-5] ^= 1
            Path(destination).write_bytes(content)

    with pytest.raises(VerificationError, match=r"kitchen: receive: .*sha256 differs") as caught:
        flash(path, transport=Flipping(there.board.base))
    assert "flash again" in caught.value.hint
    assert flash(path).active.version == 1


def test_an_unsigned_a_stale_and_a_failing_bundle_change_nothing(flash, there, tmp_path):
    with pytest.raises(VerificationError, match="kitchen: signature: this device trusts no key"):
        flash(make(tmp_path, 2, noise(3000)), Permissions())
    flash(make(tmp_path, 2, noise(3000)))
    with pytest.raises(VerificationError, match="kitchen: version: "):
        flash(make(tmp_path, 1, noise(2000)))
    there.healthy = False
    with pytest.raises(VerificationError, match="off by 3"):
        flash(make(tmp_path, 3, noise(1000)))
    there.healthy = True
    assert status(there).active.version == 2
    assert flash(make(tmp_path, 1, noise(2000)), replace(FREE, downgrade=True)).active.version == 1


def test_what_is_not_healthy_in_its_window_is_taken_back(flash, there, tmp_path):
    flash(make(tmp_path, 1, noise(3000)))

    def sicken():
        there.healthy = False

    with pytest.raises(RolledBackError, match="kitchen: health window: version 2 of cats was taken back") as caught:
        flash(make(tmp_path, 2, noise(2000)), between=sicken)
    assert "serves version 1" in caught.value.message
    assert (status(there).active.version, status(there).on_trial) == (1, False)


@pytest.mark.parametrize("has_before", [False, True])
def test_a_device_that_starts_again_in_the_window_has_gone_back_and_that_is_what_is_said(
    flash, there, tmp_path, has_before
):
    if has_before:
        flash(make(tmp_path, 1, noise(3000)))

    def reboot():
        there.moment = replace(there.moment, boot_id="two")
        status(there)

    with pytest.raises(RolledBackError, match="started again"):
        flash(make(tmp_path, 2, noise(2000)), between=reboot)
    active = status(there).active
    assert (active and active.version) == (1 if has_before else None)


def test_a_link_lost_in_the_window_is_tried_again_and_then_said_and_the_same_command_goes_on(flash, there, tmp_path):
    path, way, waits = make(tmp_path, 1, noise(3000)), FaultyTransport(there), []

    def lose():
        waits.append(1)
        way.is_lost = len(waits) < 3

    assert flash(path, transport=way, between=lose).active.version == 1

    def lose_for_good():
        way.is_lost = True

    path = make(tmp_path, 2, noise(3000, seed=1))
    with pytest.raises(LinkLostError, match="on trial") as caught:
        flash(path, transport=way, between=lose_for_good)
    assert "goes back by itself" in caught.value.hint
    assert status(there).on_trial
    assert flash(path).active.version == 2
    assert not status(there).on_trial


def test_two_hosts_at_once_the_second_is_told_and_harms_nothing(flash, there, tmp_path):
    one, two = make(tmp_path, 1, noise(3000)), make(tmp_path, 2, noise(2000))

    def also():
        with pytest.raises(DeviceError, match="another update is on trial") as caught:
            flash(two)
        assert caught.value.exit_code == 5

    assert flash(one, between=also).active.version == 1
    with there.board.locked(), pytest.raises(DeviceError, match="somebody else is updating"):
        flash(two)
    assert flash(two).active.version == 2


def test_a_device_that_does_not_answer_is_named(flash, there, tmp_path):
    way = FaultyTransport(there)
    way.is_lost = True
    with pytest.raises(UnreachableError):
        flash(make(tmp_path, 1, noise(3000)), transport=way)


@pytest.mark.parametrize(
    ("ran", "said"),
    [
        (Ran(code=127, stdout=b"", stderr=b""), "not set up"),
        (Ran(code=1, stdout=b"", stderr=b"/usr/bin/python3: No module named tinsmith\n"), "not set up"),
        (Ran(code=137, stdout=b"", stderr=b""), "memory runs out"),
        (Ran(code=0, stdout=b"Welcome!\n", stderr=b""), "no answer came"),
        (Ran(code=0, stdout=b"", stderr=b""), "no answer came"),
        (Ran(code=1, stdout=b"", stderr=b"Traceback\nImportError: libz\n"), "ImportError: libz"),
    ],
)
def test_a_device_whose_agent_does_not_answer_says_what_to_do(ran, said):
    class Running:
        def run(self, arguments, *, stdin=b"", time_limit_s):
            return ran

    agent = Agent(device="kitchen", transport=Running(), base=PurePosixPath("base"))
    with pytest.raises(DeviceError, match=said) as caught:
        agent.ask(Status(), DeviceStatus)
    assert "kitchen" in caught.value.message
    assert caught.value.hint


def test_errors_of_a_device_keep_their_family_and_unknown_families_their_exit_code():
    for family in (VerificationError, UsageError, DataError, RolledBackError, UnreachableError):
        assert type(error_of(family.code, family.exit_code, "m", hint="h")) is family
    newer = error_of("of-the-future", 6, "m", hint="h")
    assert (newer.exit_code, newer.message, newer.hint) == (6, "m", "h")


def test_a_bundle_for_another_profile_or_one_that_does_not_fit_is_refused_before_anything_is_sent(tmp_path):
    def load(device="raspberry-pi-4", engine="litert"):
        _, found = cargo_of(make(tmp_path, 1, noise(300)))
        return replace(found, settings=Settings(device=device, engine=engine))

    pi5 = Device(name="k", profile=load_profile("pi5"), profile_name="pi5", address="local")
    check_cargo(load("raspberry-pi-5"), pi5, ())
    with pytest.raises(UsageError, match=r"k: checking: .* made for raspberry-pi-4"):
        check_cargo(load(), pi5, ())
    check_cargo(load(), pi5, ("profile",))
    with pytest.raises(UnsupportedOperatorError, match="k: checking: "):
        check_cargo(load("raspberry-pi-5", "no-such-engine"), pi5, ())
    with pytest.raises(DataError, match="devices take bundles"):
        cargo_of(Path(__file__).parents[1] / "golden" / "dense.tflite")


@given(old=st.binary(max_size=300), new=st.binary(max_size=300), renamed=st.booleans())
def test_every_patch_leads_from_one_bundle_to_the_other(tmp_path_factory, old, new, renamed):
    from tinsmith.runtime.agent.bsdiff import patched

    folder = tmp_path_factory.mktemp("patch")
    before = make(folder, 1, old)
    after = make(folder, 2, new, artifact="other.tflite" if renamed else "small.tflite")
    write_patch(before, after, folder / "patch")
    size_bytes = after.stat().st_size
    assert b"".join(patched(before, folder / "patch", size_bytes=size_bytes)) == after.read_bytes()
    assert bsdiff4.patch(before.read_bytes(), (folder / "patch").read_bytes()) == after.read_bytes()


def test_a_store_that_can_not_be_written_costs_nothing_but_the_patch(flash, tmp_path):
    if os.geteuid() == 0:
        (tmp_path / "store").write_text("no folder")
    else:
        (tmp_path / "store").mkdir(mode=0o500)
    done = flash(make(tmp_path, 1, noise(3000)))
    assert (done.active.version, done.sent.form) == (1, "whole")


def test_a_rollback_by_hand_goes_to_the_one_before(flash, there, tmp_path):
    from tinsmith.runtime.agent.answers import InstalledBundle, RolledBack

    for version in (1, 2):
        flash(make(tmp_path, version, noise(3000, seed=version)))
    agent = Agent(device="kitchen", transport=there, base=PurePosixPath(there.board.base))
    back = agent.ask(Rollback(reason="by hand"), RolledBack)
    assert (back.active.version, back.taken_back.version) == (1, 2)
    assert agent.ask(Health(), InstalledBundle).bundle.version == 1
