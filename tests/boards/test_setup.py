"""A board from the shop is set up for real: arm64 wheels, an agent that answers, and a model that it runs."""

import json
import shutil
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest

from tinsmith.convert.bundling import bundle
from tinsmith.devices.device import Device
from tinsmith.devices.setup.report import Wanted
from tinsmith.devices.setup.setting_up import set_up
from tinsmith.runtime.agent.requests import Activate, Commit, Health, Install, Receive, Status, request_json
from tinsmith.runtime.errors import HostError
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.profile import load_profile

GOLDEN = Path(__file__).parents[1] / "golden"
LIMIT_S = 300.0


@pytest.fixture(scope="module")
def transport(proot_board):
    with closing(proot_board.open()) as transport:
        yield transport


@pytest.fixture(scope="module")
def device(proot_board):
    return Device(name="pi", profile=load_profile("pi4"), profile_name="pi4", address=proot_board.address,
                  host_key=proot_board.host_key, base="/data/tinsmith")  # fmt: skip


@pytest.fixture(scope="module")
def done(device, transport):
    try:
        return set_up(device, transport, wanted=Wanted())
    except HostError as error:
        pytest.skip(f"there are no wheels for the board: {error.message}")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copy(GOLDEN / "cnn_int8.tflite", folder / "cnn.tflite")
    bundle(folder / "cnn.tflite", folder / "app.tin", name="cnn", version=1)
    return folder / "app.tin"


def ask(transport, done, request):
    arguments = [f"{done.base}/venv/bin/python", "-m", "tinsmith.runtime.agent", done.base]
    ran = transport.run(arguments, stdin=json.dumps(request_json(request)).encode(), time_limit_s=LIMIT_S)
    assert ran.code == 0, ran
    return json.loads(ran.stdout)


def test_it_gets_wheels_for_its_own_cpu_and_nothing_is_sent_twice(device, transport, done):
    assert (done.facts.arch, done.base) == ("aarch64", "/data/tinsmith")
    assert done.facts.engines.keys() == {"litert"}
    assert done.sent_bytes > 10**7

    again = set_up(device, transport, wanted=Wanted())
    assert (again.sent_bytes, again.facts.engines) == (0, done.facts.engines)


def test_it_runs_a_model_and_answers_the_same_bits_at_the_same_version(transport, done, app):
    name = sha256_of(app)
    ask(transport, done, Status())  # makes the folders
    transport.put(app, PurePosixPath(done.base, "parts", f"{name}.part"), time_limit_s=LIMIT_S)
    ask(transport, done, Receive(sha256=name, size_bytes=app.stat().st_size, part=name, form="whole"))
    installed = ask(transport, done, Install(sha256=name, allow_unsigned=True, time_limit_s=LIMIT_S))

    assert (installed["engine"], installed["engine_version"]) == ("litert", done.facts.engines["litert"])
    assert "is off by 0, " in installed["golden"]
    ask(transport, done, Activate(sha256=name, window_s=600))
    assert ask(transport, done, Commit(sha256=name))["active"]["version"] == 1
    assert ask(transport, done, Health(time_limit_s=LIMIT_S))["golden"] == installed["golden"]
