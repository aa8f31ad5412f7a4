"""Flash over OpenSSH to an arm64 board, and all that can happen to it: never a broken board, each with its own word."""

import contextlib
import io
import random
import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from tinsmith.convert.bundling import bundle
from tinsmith.devices.boards import faults
from tinsmith.devices.boards.starting import boot, cut
from tinsmith.devices.device import Device
from tinsmith.devices.flashing.agents import agent_of
from tinsmith.devices.flashing.deploying import cargo_of, status_of
from tinsmith.devices.flashing.flash import Flasher, Permissions
from tinsmith.devices.flashing.store import Store
from tinsmith.devices.naming import named
from tinsmith.devices.setup.report import Wanted
from tinsmith.devices.setup.setting_up import set_up
from tinsmith.runtime.bundle.reading import open_bundle
from tinsmith.runtime.bundle.secret_key import new_secret_key
from tinsmith.runtime.bundle.trust import AllowUnsigned
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.errors import (
    DeviceError,
    HostError,
    NoRoomError,
    RolledBackError,
    TinsmithError,
    VerificationError,
)
from tinsmith.runtime.profile import load_profile

GOLDEN = Path(__file__).parents[1] / "golden"
PROFILE = "virtual-arm64"
WINDOW_S = 5.0
MIB = 1 << 20


class Board:
    """A board that is set up, the bundles that go to it, and what it must serve."""

    def __init__(self, board, folder):
        self.board, self.folder, self.version = board, folder, 0
        self.device = Device(name="oven", profile=load_profile(PROFILE), profile_name=PROFILE, address=board.address,
                             host_key=board.host_key, base="/data/tinsmith")  # fmt: skip
        self.store = Store(folder / "store")
        with contextlib.closing(board.open()) as transport:
            set_up(self.device, transport, wanted=Wanted(service=False))

    def make(self, extra_bytes=0, *, version=None, off=0.0, key=None):
        """The next version of a small model with bytes behind its end, which do no harm; answers that are off."""
        self.newest = version or max(self.version, getattr(self, "newest", 0)) + 1
        model = self.folder / "cnn.tflite"
        noise = random.Random(self.newest).randbytes(extra_bytes)
        model.write_bytes((GOLDEN / "cnn_int8.tflite").read_bytes() + noise)
        path = self.folder / f"{self.newest}.tin"
        path.unlink(missing_ok=True)
        bundle(model, path, name="cnn", version=self.newest, signing_key=key)
        if off:
            answer_otherwise(path, off)
        return path

    def flash(self, path, *, between=lambda: None, watch=None, device=None, **permissions):
        cargo, _ = cargo_of(path)
        allowed = replace(Permissions(unsigned=True, window_s=WINDOW_S, time_limit_s=120.0), **permissions)
        device = device or self.device
        with contextlib.closing(self.board.open()) as transport:
            flasher = Flasher(device, transport, agent=agent_of(device, transport), store=self.store,
                              watch=watch or Silent(), pause=lambda _: between())  # fmt: skip
            with named(device, transport):
                done = flasher.flash(cargo, allowed)
        self.version = done.active.version
        return done

    def serves(self):
        """The version that is served, hashed and run again."""
        found = status_of(self.device, check=True)
        assert found.error is None, found.error.message
        assert not found.status.on_trial
        return found.status.active and found.status.active.version

    def refuses(self, path, error, said, **keys):
        """A flash fails in this way, and what was served is served on."""
        with pytest.raises(error, match=said) as caught:
            self.flash(path, **keys)
        assert caught.value.message.startswith("oven: ")
        assert caught.value.hint
        assert self.serves() == self.version
        return caught.value


class Silent:
    def stage(self, name):
        pass

    def sent(self, done_bytes, size_bytes):
        pass


class At(Silent):
    """Does something once so many bytes have gone."""

    def __init__(self, count, do):
        self.count, self.do = count, do

    def sent(self, done_bytes, size_bytes):
        if done_bytes >= self.count and self.do:
            do, self.do = self.do, None
            do()


def answer_otherwise(path, off):
    with open_bundle(path, trust=AllowUnsigned()) as opened:
        manifest = opened.manifest
        contents = {part.name: opened.read(part.name) for part in manifest.parts}
    for part in {part for engine in manifest.golden.outputs.values() for part in engine.values()}:
        stream = io.BytesIO()
        array = np.load(io.BytesIO(contents[part]))
        np.save(stream, (array.astype(np.int16) ^ int(off)).astype(array.dtype))
        contents[part] = stream.getvalue()
    path.unlink()
    write_bundle(path, replace(manifest, parts=(), encryption=None), contents)


@pytest.fixture(scope="module")
def oven(start, tmp_path_factory):
    try:
        made = Board(start("oven", "ssh"), tmp_path_factory.mktemp("oven"))
    except HostError as error:
        pytest.skip(f"there are no wheels for the board: {error.message}")
    done = made.flash(made.make())
    assert "off by 0, " in done.golden, "int8 answers are the same bits on both CPUs"
    return made


def test_a_newer_version_is_a_patch_and_the_same_one_sends_nothing(oven):
    path = oven.make(MIB)
    oven.flash(path)
    weights = bytearray(random.Random(0).randbytes(MIB))
    model = oven.folder / "cnn.tflite"
    again = oven.flash(path)
    assert (again.changed, again.sent.size_bytes) == (False, 0)

    content = bytearray(model.read_bytes())
    for at in range(len(content) - len(weights), len(content), 101):
        content[at] ^= 1
    model.write_bytes(content)
    other = oven.folder / "patched.tin"
    bundle(model, other, name="cnn", version=oven.version + 1)
    done = oven.flash(other)
    assert (done.sent.form, oven.serves()) == ("bsdiff", done.active.version)
    assert done.sent.size_bytes < MIB / 10
    oven.newest = oven.version


def test_a_cable_that_is_pulled_out_is_said_and_the_same_command_goes_on(oven):
    path = oven.make(3 * MIB)
    size_bytes = path.stat().st_size
    watch = At(size_bytes // 2, lambda: faults.link_down(oven.board))
    try:
        with pytest.raises(DeviceError) as caught:
            oven.flash(path, watch=watch)
    finally:
        faults.link_up(oven.board)
    assert caught.value.exit_code == 5
    assert oven.serves() == oven.version

    done = oven.flash(path)
    assert done.sent.resumed_bytes > size_bytes // 3
    assert done.sent.size_bytes + done.sent.resumed_bytes == size_bytes


def test_a_full_disk_is_said(oven):
    small = replace(oven.device, base="/data/small")
    faults.small_disk(oven.board, PurePosixPath("/data/small"), size_bytes=MIB)
    try:
        with contextlib.closing(oven.board.open()) as transport:
            made = transport.run(
                ["ln", "-s", "/data/tinsmith/venv", "/data/tinsmith/wheels", "/data/small"], time_limit_s=30
            )
        assert made.code == 0, made
        with pytest.raises(NoRoomError, match="disk is full") as caught:
            oven.flash(oven.make(2 * MIB), device=small)
        assert "df -h" in caught.value.hint
        assert status_of(small).status.active is None
    finally:
        faults.remove_disk(oven.board, PurePosixPath("/data/small"))
    assert oven.serves() == oven.version


def test_a_disk_that_went_read_only_is_said_and_serves_on(oven):
    path = oven.make()
    faults.read_only(oven.board)
    try:
        with pytest.raises(TinsmithError) as caught:
            oven.flash(path)
        assert caught.value.exit_code == 5
        assert caught.value.message.startswith("oven: asking: nothing can be written there")
        assert "ead-only" in caught.value.message
    finally:
        faults.writable(oven.board)
    assert oven.serves() == oven.version


def test_memory_that_runs_out_is_said(oven):
    faults.limit_memory(oven.board, limit_bytes=40 * MIB)
    try:
        with pytest.raises(TinsmithError) as caught:
            oven.flash(oven.make())
        assert caught.value.exit_code in (4, 5)
        assert caught.value.hint
    finally:
        faults.limit_memory(oven.board, limit_bytes=None)
    assert oven.serves() == oven.version


def test_a_stale_version_and_answers_that_differ_are_refused(oven):
    oven.flash(oven.make())
    assert oven.refuses(oven.make(version=1), VerificationError, "version: the bundle is version 1").exit_code == 6
    oven.newest = oven.version
    assert oven.refuses(oven.make(off=64), VerificationError, "golden: .* is off by").exit_code == 6


def test_bytes_that_were_tampered_with_and_a_key_that_is_not_trusted_are_refused(oven):
    mine, other = new_secret_key(), new_secret_key()
    with contextlib.closing(oven.board.open()) as transport:
        text = mine.public.to_text()
        transport.run(["sh", "-c", 'cat > "$1"', "sh", "/data/tinsmith/trusted/mine.pub"], stdin=text.encode(),
                      time_limit_s=30)  # fmt: skip
        try:
            unsigned = oven.refuses(oven.make(), VerificationError, "signature: ")
            wrong = oven.refuses(oven.make(key=other), VerificationError, "signature: ")
            assert (unsigned.exit_code, wrong.exit_code) == (6, 6)
            assert unsigned.message != wrong.message
            signed = oven.make(key=mine)
            tampered = bytearray(signed.read_bytes())
            tampered[len(tampered) // 2] ^= 1
            (oven.folder / "tampered.tin").write_bytes(tampered)
            with pytest.raises(VerificationError):
                oven.flash(oven.folder / "tampered.tin")
            assert oven.flash(signed).active.signed_by
        finally:
            transport.run(["rm", "/data/tinsmith/trusted/mine.pub"], time_limit_s=30)


def test_a_board_that_starts_again_in_the_health_window_has_gone_back(oven):
    def reboot():
        cut(oven.board)
        oven.board = boot(oven.board)

    before = oven.version
    error = oven.refuses(oven.make(), RolledBackError, "started again", between=reboot)
    assert error.exit_code == 7
    assert oven.version == before


def test_two_hosts_at_once_never_mix(oven):
    one, two = oven.make(MIB), oven.make(2 * MIB)
    ended = []

    def flash(path):
        try:
            ended.append(oven.flash(path, window_s=0).active.version)
        except TinsmithError as error:
            ended.append(error)

    threads = [threading.Thread(target=flash, args=(path,)) for path in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served = oven.serves()
    assert served in ended
    for error in [found for found in ended if isinstance(found, TinsmithError)]:
        assert error.exit_code in (5, 6), error.message
        assert "another update is on trial" in error.message or "updating this device" in error.message \
            or "has had version" in error.message  # fmt: skip
    oven.version = oven.newest = max(served, oven.newest)


@pytest.mark.parametrize("share", [0.2, 0.55, 0.8, 0.95])
def test_a_plug_that_is_pulled_leaves_the_old_bundle_or_the_new_one_whole(start, tmp_path_factory, share):
    """The short form of ``python -m benchmarks power``: a whole machine with a disk of its own."""
    try:
        machine = _machine(start, tmp_path_factory)
    except HostError as error:
        pytest.skip(f"there are no wheels for the board: {error.message}")
    path = machine.make(MIB)
    new = machine.newest
    timer = threading.Timer(share * machine.takes_s, lambda: cut(machine.board))
    timer.start()
    reported = None
    with contextlib.suppress(TinsmithError):
        reported = machine.flash(path, window_s=0).active.version
    timer.join()
    machine.board = boot(machine.board)
    served = machine.serves()
    assert served in (machine.version, new)
    assert reported in (None, served)
    machine.version = served


_MACHINES = {}


def _machine(start, tmp_path_factory):
    """One machine for all cuts, with how long a flash takes that nobody cuts off."""
    import time

    if "power" not in _MACHINES:
        machine = Board(start("power-flash", "vm"), tmp_path_factory.mktemp("power"))
        machine.flash(machine.make(MIB), window_s=0)
        started = time.monotonic()
        machine.flash(machine.make(MIB), window_s=0)
        machine.takes_s = time.monotonic() - started
        _MACHINES["power"] = machine
    return _MACHINES["power"]
