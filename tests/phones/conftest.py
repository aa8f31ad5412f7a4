"""Phones: this machine through the shells and the programs that phones have, in a folder of its own."""

import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path, PurePosixPath

import pytest

from tinsmith.devices.device import Device
from tinsmith.devices.flashing.deploying import cargo_of
from tinsmith.devices.flashing.flash import Flasher, Permissions
from tinsmith.devices.flashing.phone import PhoneAgent
from tinsmith.devices.flashing.store import Store
from tinsmith.devices.transports.local import LocalTransport
from tinsmith.runtime.agent.answers import DeviceStatus
from tinsmith.runtime.agent.requests import Status
from tinsmith.runtime.artifact import Artifact, Lineage
from tinsmith.runtime.bundle.manifest import Manifest, Settings
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.profile import load_profile
from tinsmith.runtime.tensors import TensorSpec

SPEC = TensorSpec(name="x", dtype="float32", shape=(None, 2))
FREE = Permissions(unsigned=True, window_s=30)
SHELLS = ("dash", "busybox", "toybox")


def _program(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no program {name}: apt install {name}")
    return Path(found)


def _programs(folder, name):
    """The path on which a phone's sh finds its programs."""
    folder.mkdir()
    if name == "dash":
        (folder / "sh").symlink_to(_program("dash"))
        return f"{folder}:{os.environ['PATH']}"
    if name == "busybox":
        subprocess.run([_program("busybox"), "--install", "-s", folder], check=True)
    else:
        toybox = _program("toybox")
        for applet in subprocess.run([toybox], capture_output=True, check=True, text=True).stdout.split():
            (folder / applet).symlink_to(toybox)
        (folder / "sh").unlink(missing_ok=True)
        (folder / "sh").symlink_to(_program("mksh"))  # as on Android
    if not (folder / "flock").exists():  # Debian's busybox has none, others do
        (folder / "flock").symlink_to(_program("flock"))
    return str(folder)


@pytest.fixture(params=SHELLS)
def shell(request, tmp_path, monkeypatch):
    """Every program of a test is found as on a phone; only the disk is not waited for, which others write to."""
    if request.param != "dash" and not request.config.getoption("--boards"):
        pytest.skip("the shells of real phones take minutes: make test-boards")
    path = _programs(tmp_path / "programs", request.param)
    (tmp_path / "fast").mkdir()
    (tmp_path / "fast" / "sync").symlink_to(_program("true"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'fast'}:{path}")
    return request.param


class Silent:
    def stage(self, name):
        pass

    def sent(self, done_bytes, size_bytes):
        pass


class Phone:
    """One phone, and what a host does with it."""

    def __init__(self, folder, store):
        self.base = folder / "tinsmith"
        self.transport = LocalTransport()
        self.trust, self.runner = (), ""
        self._store = store

    def agent(self, bundle=None, transport=None):
        return PhoneAgent(
            device="phone", transport=transport or self.transport, base=PurePosixPath(self.base), bundle=bundle,
            trust=self.trust, runner=self.runner,
        )  # fmt: skip

    def flash(self, path, permissions=FREE, *, transport=None, between=lambda: None):
        way = transport or self.transport
        device = Device(
            name="phone", profile=load_profile("android-arm64"), profile_name="android-arm64", address="adb:1"
        )
        flasher = Flasher(
            device, way, agent=self.agent(path, way), store=self._store, watch=Silent(), pause=lambda _: between()
        )
        return flasher.flash(cargo_of(path)[0], permissions)

    def status(self):
        return self.agent().ask(Status(), DeviceStatus)

    def gets_runner(self, script, name="benchmark_model"):
        """A program that runs models; ``$1`` is what it is told."""
        program = self.base / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program


@pytest.fixture
def room():
    """A folder in memory, where waiting for the disk costs nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def phone(room, shell):
    return Phone(room / "phone", Store(room / "store"))


@pytest.fixture
def make(tmp_path):
    """Makes a bundle: version, size of the artifact -> path."""
    (tmp_path / "bundles").mkdir()

    def made(version, count=3000, *, name="cats", **keys):
        content = random.Random(version).randbytes(count)
        artifact = Artifact(
            path=Path("small.tflite"), format="tflite", sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=count, inputs=(SPEC,), outputs=(SPEC,), operators=(),
            lineage=Lineage(source="m", source_format="keras", source_sha256="0" * 64, steps=()),
        )  # fmt: skip
        settings = Settings(device="android-arm64", engine="litert")
        manifest = Manifest(name=name, version=version, artifact=artifact, parts=(), settings=settings)
        path = tmp_path / "bundles" / f"{name}-{version}-{count}.tin"
        write_bundle(path, manifest, {"artifact/small.tflite": content}, **keys)
        return path

    return made


@pytest.fixture
def served(phone):
    """What an app finds behind the link, without asking anybody; None where there is no link."""

    def found():
        link = phone.base / "current"
        if not link.is_symlink():
            return None
        content = (link / "app.tin").read_bytes()
        assert (link / "artifact" / "small.tflite").read_bytes() in content, "the artifact is of another bundle"
        return content

    return found
