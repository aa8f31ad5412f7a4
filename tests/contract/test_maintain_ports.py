"""What devices do for the closed loop: those in memory, and folders of this machine with a real server beside them."""

import io
from types import SimpleNamespace

import numpy as np
import pytest

from tinsmith.__main__ import run
from tinsmith.compress.maintain.fake import FakeDevices
from tinsmith.compress.maintain.observing import look_of
from tinsmith.compress.maintain.ports import Orders
from tinsmith.convert.bundling import bundle
from tinsmith.convert.data import open_dataset
from tinsmith.devices.fleet.maintaining import DeviceCollector, FleetDeployer
from tinsmith.runtime.errors import DeviceError, UsageError
from tinsmith.runtime.monitor.client import MonitorAddress
from tinsmith.runtime.monitor.document import is_monitor_document

ORDERS = Orders(unsigned=True, window_s=0)
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("bundles")
    artifact = request.path.parents[1] / "golden" / "dense.tflite"
    data = folder / "data.npz"
    rng = np.random.default_rng(0)
    np.savez(data, x=rng.random((80, 4), np.float32), y=np.arange(80) % 3)
    for version in (1, 2, 3):
        bundle(artifact, folder / f"{version}.tin", data=data, name="dense", version=version)
    return folder


@pytest.fixture(scope="module")
def server(serve, bundles, tmp_path_factory):
    """Has seen 60 samples of another kind than its bundle knows."""
    found = serve(
        models=[{"name": "app", "path": str(bundles / "1.tin")}],
        capture={"folder": str(tmp_path_factory.mktemp("capture")), "samples": 64, "age_h": 1},
    )
    found.infer("app", "x", 5 + np.random.default_rng(1).random((60, 4), np.float32))
    return found


def in_memory(bundles):
    stream = io.BytesIO()
    np.savez(stream, x=np.full((60, 4), 5, np.float32))
    statistics = [{"side": "inputs", "tensor": "x", "statistic": "0", "test": "ks", "figure": 1.0, "threshold": 0.2,
                   "drifted": True}]  # fmt: skip
    document = {
        "model": "app", "version": "1", "ok": False,
        "drift": {"state": "drift", "statistics": statistics, "samples": 60, "began_s": 0.0, "reference_samples": 80,
                  "false_alarm": 0.01},
        "latency": {"state": "no-promise", "p50_ms": None, "p90_ms": None, "p95_ms": None, "promised_p50_ms": None},
        "errors": {"state": "ok", "requests": 1, "faults": 0, "failures": {}},
        "capture": {"samples": 60, "path": "/srv/app.npz"},
    }  # fmt: skip
    devices = FakeDevices(dict.fromkeys(NAMES, document), {("one", "/srv/app.npz"): stream.getvalue()})

    def break_down(name):
        devices.broken.add(name)

    return SimpleNamespace(
        collecting=devices, deploying=devices, everybody="all", break_down=break_down, switch_off=devices.off.add,
        address=MonitorAddress(url="http://one"), nowhere=MonitorAddress(url="http://nobody"),
    )  # fmt: skip


def of_this_machine(bundles, server, folder):
    def add(name, address):
        run(["devices", "add", name, "--profile", "local", "--address", address, "--group", "shop", "-q"])

    def switch_off(name):
        run(["devices", "remove", name, "-q"])
        add(name, "ssh://nobody@127.0.0.1:1")

    def break_down(name):
        """It has served a newer version, and takes none that is older."""
        newer = FleetDeployer().waves([name], Orders(canary="0"))
        FleetDeployer().roll_out(bundles / "3.tin", newer, ORDERS)

    for name in NAMES:
        (folder / name).mkdir()
        add(name, f"local:{folder / name}")
    return SimpleNamespace(
        collecting=DeviceCollector(), deploying=FleetDeployer(), everybody="shop", break_down=break_down,
        switch_off=switch_off, address=MonitorAddress(url=server.url, model="app"),
        nowhere=MonitorAddress(url="http://127.0.0.1:1"),
    )  # fmt: skip


@pytest.fixture(params=["in memory", "of this machine"])
def world(request, bundles, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "in memory":
        return in_memory(bundles)
    return of_this_machine(bundles, request.getfixturevalue("server"), tmp_path)


def test_names_stand_for_devices(world):
    assert world.collecting.devices([world.everybody, "two"]) == NAMES
    with pytest.raises(UsageError):
        world.collecting.devices(["nobody"])


def test_a_monitor_says_what_a_decision_needs(world):
    document = world.collecting.look(world.address)

    assert is_monitor_document(document)
    look = look_of("one", document)
    assert (look.drift, look.samples, look.version, look.captured, look.error) == ("drift", 60, 1, 60, "")
    assert all(one.times > 1 for one in look.drifted)


def test_a_monitor_that_is_not_there_is_a_device_error(world):
    with pytest.raises(DeviceError):
        world.collecting.look(world.nowhere)


def test_what_was_captured_is_fetched_whole(world, tmp_path):
    look = look_of("one", world.collecting.look(world.address))
    destination = tmp_path / "fetched.npz"
    for _ in range(2000):  # a server writes the file when it gets round to it
        try:
            world.collecting.pull("one", look.capture_path, destination)
        except DeviceError:
            continue
        break

    assert len(open_dataset(destination, None)) == 60


def test_a_file_that_is_not_there_leaves_nothing(world, tmp_path):
    with pytest.raises(DeviceError, match="one"):
        world.collecting.pull("one", "/nowhere/app.npz", tmp_path / "fetched.npz")
    world.switch_off("two")
    with pytest.raises(DeviceError, match="two"):
        world.collecting.pull("two", "/nowhere/app.npz", tmp_path / "fetched.npz")
    assert not (tmp_path / "fetched.npz").exists()


def test_waves_hold_each_device_once_the_canary_first(world):
    first, *rest = world.deploying.waves(NAMES, Orders(canary="1"))
    assert (first.title, first.devices) == ("canary", ("one",))
    assert [name for wave in rest for name in wave.devices] == ["two", "three"]
    assert all(wave.title != "canary" for wave in world.deploying.waves(NAMES, Orders(canary="0")))
    with pytest.raises(UsageError):
        world.deploying.waves(NAMES, Orders(canary="some"))


def results(rolled):
    return {turn.device: turn.result for turn in rolled.outcomes}


def test_a_bundle_comes_to_each_device_once_and_one_that_is_off_stops_nothing(world, bundles):
    world.switch_off("two")
    waves = world.deploying.waves(["one", "two"], ORDERS)
    rolled = world.deploying.roll_out(bundles / "1.tin", waves, ORDERS)
    one, two = rolled.outcomes
    assert results(rolled) == {"one": "done", "two": "later"}
    assert (one.serves, one.version, one.error) == (True, 1, None)
    assert (two.serves, isinstance(two.error, DeviceError)) == (False, True)
    assert not rolled.stopped

    again = world.deploying.roll_out(bundles / "1.tin", waves, ORDERS)
    assert results(again) == {"one": "unchanged", "two": "later"}
    assert again.outcomes[0].serves


def test_a_canary_that_fails_stops_the_rest_and_is_told_where_there_is_none(world, bundles):
    world.break_down("one")
    rolled = world.deploying.roll_out(bundles / "2.tin", world.deploying.waves(NAMES, ORDERS), ORDERS)
    assert results(rolled) == {"one": "failed", "two": "not started", "three": "not started"}
    assert "canary" in rolled.stopped
    assert rolled.outcomes[0].error is not None
    assert not any(turn.serves for turn in rolled.outcomes)

    alone = world.deploying.waves(["one"], ORDERS)
    assert world.deploying.roll_out(bundles / "2.tin", alone, ORDERS).stopped


def test_the_way_back_is_for_what_serves_the_bundle_and_for_nothing_else(world, bundles):
    for version in (1, 2):
        waves = world.deploying.waves(["one"], ORDERS)
        world.deploying.roll_out(bundles / f"{version}.tin", waves, ORDERS)
    world.switch_off("two")

    one, two, three = world.deploying.roll_back(NAMES, bundles / "2.tin", "a test")
    assert (one.device, one.result, one.version, one.serves) == ("one", "rolled back", 1, False)
    assert (two.serves, isinstance(two.error, DeviceError)) == (True, True)
    assert (three.result, three.version, three.serves) == ("not started", None, False)

    (one,) = world.deploying.roll_back(["one"], bundles / "2.tin", "a test")
    assert (one.result, one.version) == ("not started", 1), "it has gone back once"
