"""The power is cut before and after every change on the disk: the old bundle is served, or the new one, and whole."""

import contextlib
import hashlib
import json
import lzma
import os
import shutil
import tempfile
from pathlib import Path

import bsdiff4
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.runtime.agent.answering import answer
from tinsmith.runtime.agent.board import BUNDLE, Board
from tinsmith.runtime.agent.clock import Moment
from tinsmith.runtime.agent.filesystem import FileSystem
from tinsmith.runtime.agent.requests import Activate, Boot, Commit, Install, Missing, Receive, Rollback, Status
from tinsmith.runtime.agent.trying import Tried
from tinsmith.runtime.artifact import Artifact, Lineage
from tinsmith.runtime.audit import verify_log
from tinsmith.runtime.bundle.manifest import Manifest, Settings
from tinsmith.runtime.bundle.writing import write_bundle
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.stages import Stages
from tinsmith.runtime.tensors import TensorSpec

SPEC = TensorSpec(name="x", dtype="float32", shape=(None, 2))


class PowerCutError(BaseException):
    """Nothing may catch it."""


class CutFileSystem(FileSystem):
    """Cuts the power at one step, and then loses what the disk did not have to keep.

    ``lose`` takes back the names that no folder was synced for, newest first, and the content that no file was synced
    for: the worst that a disk may do. Without it the disk has kept everything, which is the other end.
    """

    def __init__(self, spare, *, cut_at=None, torn=False):
        self.steps = []
        self._spare, self._cut_at, self._torn = spare, cut_at, torn
        self._synced = None
        self._unsynced = set()
        self._names = []

    def step(self, what, path):
        if len(self.steps) == self._cut_at:
            if self._torn and what == "audit":
                with path.open("ab") as stream:
                    stream.write(b'{"at": "20')
            raise PowerCutError(what, path)
        self.steps.append(what)
        self._synced = path if what == "sync" else None

    def sent(self, path):
        self._unsynced.add(path)

    def lose(self):
        for path in self._unsynced:
            if path.exists():
                os.truncate(path, 0)
        for _, undo in reversed(self._names):
            undo()

    def create(self, path, chunks, *, mode=0o644):
        self.step("create", path)
        if not path.exists():
            self._named(path, lambda: path.unlink(missing_ok=True))
        self._unsynced.add(path)
        super().create(path, chunks, mode=mode)
        if self._synced == path:
            self._unsynced.discard(path)

    def append(self, path, chunks):
        if not path.exists():
            self._named(path, lambda: path.unlink(missing_ok=True))
        self._unsynced.add(path)
        super().append(path, chunks)

    def write_chunk(self, path, handle, chunk):
        if self._torn and len(self.steps) == self._cut_at:
            os.write(handle, chunk[: len(chunk) // 2])
        super().write_chunk(path, handle, chunk)

    def sync_file(self, path):
        super().sync_file(path)
        self._unsynced.discard(path)

    def sync_folder(self, path):
        super().sync_folder(path)
        self._names = [(folder, undo) for folder, undo in self._names if folder != path]

    def rename(self, source, target):
        before = self._kept(target)

        def undo():
            target.rename(source)
            before()

        super().rename(source, target)
        if source in self._unsynced:
            self._unsynced = self._unsynced - {source} | {target}
        self._named(target, undo)

    def switch(self, link, target):
        made = self.made(link)
        self._named(made, lambda: made.unlink(missing_ok=True))
        super().switch(link, target)

    def link(self, source, target):
        done = super().link(source, target)
        self._named(target, target.unlink)
        return done

    def unlink(self, path):
        if os.path.lexists(path):
            before = self._kept(path)
            super().unlink(path)
            self._named(path, before)

    def make_folder(self, path):
        if not path.is_dir():
            self._named(path, lambda: shutil.rmtree(path, ignore_errors=True))
        super().make_folder(path)

    def _named(self, path, undo):
        self._names.append((path.parent, undo))

    def _kept(self, path):
        """Gives what brings back a name as it is now."""
        if path.is_symlink():
            to = path.readlink()
            return lambda: path.symlink_to(to)
        if path.exists() and not path.is_dir():
            spare = Path(tempfile.mkdtemp(dir=self._spare)) / "kept"
            os.link(path, spare)
            return lambda: (path.parent.mkdir(parents=True, exist_ok=True), os.link(spare, path))
        return lambda: None


def make_bundle(path, version, content=None, name="cats", **keys):
    content = content or f"TFL3 {version}".encode() * 40
    artifact = Artifact(
        path=Path("small.tflite"), format="tflite", sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content), inputs=(SPEC,), outputs=(SPEC,), operators=(),
        lineage=Lineage(source="m", source_format="keras", source_sha256="0" * 64, steps=()),
    )  # fmt: skip
    manifest = Manifest(
        name=name, version=version, artifact=artifact, parts=(), settings=Settings(device="local", engine="litert")
    )
    write_bundle(path, manifest, {"artifact/small.tflite": content}, **keys)
    return path


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def passes(candidate, stages):
    assert candidate.path.read_bytes().startswith(b"TFL3")
    return Tried(engine="litert", version="2")


class Host:
    """Does what ``flash`` does, with a fresh agent for each request."""

    def __init__(self, base, files=None, boot="one"):
        self.base, self.files, self.boot = base, files, boot

    def ask(self, request):
        now = lambda: Moment(wall_s=1e9, uptime_s=50.0, boot_id=self.boot)  # noqa: E731
        board = Board(self.base, files=self.files, now=now)
        return answer(board, request, Stages("request"), attempt=passes)

    def flash(self, content, form="whole", old=b"", *, allow_downgrade=False):
        name = sha256(content)
        sent = {"whole": lambda: content, "lzma": lambda: lzma.compress(content),
                "bsdiff": lambda: bsdiff4.diff(old, content)}[form]()  # fmt: skip
        self.ask(Boot())
        about = Missing(sha256=name, size_bytes=len(content), part=sha256(sent), part_bytes=len(sent))
        found = self.ask(about)
        if not found.there:
            if form == "bsdiff" and sha256(old) not in {base.sha256 for base in found.bases}:
                return self.flash(content, allow_downgrade=allow_downgrade)
            self._send(sent, found.part_bytes, found.part_prefix)
            base = sha256(old) if form == "bsdiff" else ""
            assert self.ask(
                Receive(sha256=name, size_bytes=len(content), part=sha256(sent), form=form, base=base)
            ).received
        self.ask(Install(sha256=name, allow_unsigned=True, allow_downgrade=allow_downgrade))
        self.ask(Activate(sha256=name, window_s=60))
        return self.ask(Commit(sha256=name))

    def _send(self, sent, there, prefix):
        part = self.base / "parts" / f"{sha256(sent)}.part"
        if sha256(sent[:there]) != prefix:
            there = 0
        with part.open("r+b" if part.exists() else "wb") as stream:
            stream.truncate(there)
            stream.seek(there)
            stream.write(sent[there:])
        if isinstance(self.files, CutFileSystem):
            self.files.sent(part)


def served(base):
    """What a server finds behind the link, without asking the agent; None where there is no link."""
    link = base / "current"
    if not link.is_symlink():
        return None
    content = (link / BUNDLE).read_bytes()
    artifact = (link / "artifact/small.tflite").read_bytes()
    assert artifact in content, "the artifact is of another bundle"
    return content


def events(base):
    return [json.loads(line)["event"] for line in (base / "audit.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def room():
    """A folder in memory, where waiting for the disk costs nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def bundles(room):
    return [make_bundle(room / f"{version}.tin", version).read_bytes() for version in (1, 2, 3)]


@pytest.fixture(scope="module")
def boards(room, bundles):
    """By name: a board before anything, one that has committed version 1, and one that has committed 1 and then 2."""
    found = {name: room / f"board-{name}" for name in ("empty", "one", "two")}
    found["empty"].mkdir()
    Host(found["one"]).flash(bundles[0])
    shutil.copytree(found["one"], found["two"], symlinks=True)
    Host(found["two"]).flash(bundles[1])
    return found


@pytest.fixture
def copy(room):
    made = []

    def call(board):
        made.append(Path(tempfile.mkdtemp(dir=room)))
        return Path(shutil.copytree(board, made[-1] / "board", symlinks=True))

    yield call
    for folder in made:
        shutil.rmtree(folder)


def cut(base, work, *, at, torn, lost):
    """Cut the power at one step of some work; False where the work ended before."""
    files = CutFileSystem(base.parent, cut_at=at, torn=torn)
    try:
        work(Host(base, files))
    except PowerCutError:
        if lost:
            files.lose()
        return True
    return False


DISKS = [(False, False), (False, True), (True, False)]


@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize(("torn", "lost"), DISKS)
@pytest.mark.parametrize(("start", "form"), [("one", "whole"), ("empty", "lzma"), ("two", "bsdiff")])
def test_a_flash_that_is_cut_off_anywhere(boards, bundles, copy, start, form, torn, lost, reboot):
    old = served(boards[start])
    new = bundles[2]
    at = 0
    while True:
        base = copy(boards[start])
        if not cut(base, lambda host: host.flash(new, form, old or b""), at=at, torn=torn, lost=lost):
            break
        found = served(base)
        assert found in (old, new), f"step {at}"
        host = Host(base, boot="two" if reboot else "one")
        status = host.ask(Status())
        found = served(base)
        assert found in (old, new), f"step {at}"
        assert (status.active and status.active.sha256) == (found and sha256(found))
        if status.previous is not None:
            assert sha256((base / "slots" / status.previous.slot / BUNDLE).read_bytes()) == status.previous.sha256
        if reboot:
            assert not status.on_trial
            assert (found == new) == (status.highest.get("cats") == 3), "an update that nobody committed stayed"
        after = host.flash(new, form, old or b"")
        assert (after.active.version, after.on_trial) == (3, False)
        assert served(base) == new
        assert verify_log(base / "audit.jsonl").head == after.audit_head
        assert events(base)[-1] == "commit"
        assert events(base).count("commit") == events(boards[start]).count("commit") + 1 if old else 1
        assert not list(base.rglob("*.new"))
        at += 1
    assert at > 30, "the steps were not seen"


@pytest.mark.parametrize(("torn", "lost"), DISKS)
def test_a_rollback_that_is_cut_off_anywhere(boards, bundles, copy, torn, lost):
    at = 0
    while True:
        base = copy(boards["two"])
        if not cut(base, lambda host: host.ask(Rollback(reason="it was slow")), at=at, torn=torn, lost=lost):
            break
        assert served(base) in bundles[:2], f"step {at}"
        status = Host(base).ask(Status())
        assert status.active.sha256 == sha256(served(base))
        back = Host(base).ask(Rollback(reason="it was slow"))
        assert (back.active.version, back.taken_back.version) == (1, 2)
        assert Host(base).ask(Rollback(reason="it was slow")) == back
        assert served(base) == bundles[0]
        assert events(base).count("rollback") == 1
        assert verify_log(base / "audit.jsonl").head == back.audit_head
        at += 1
    assert at > 5, "the steps were not seen"


@pytest.mark.parametrize(("torn", "lost"), DISKS)
def test_a_rollback_out_of_a_trial_that_is_cut_off_anywhere(boards, bundles, copy, torn, lost):
    start = copy(boards["one"])
    host = Host(start)
    with contextlib.suppress(KeyError):
        _flash_until_trial(host, bundles[1])
    at = 0
    while True:
        base = copy(start)
        if not cut(base, lambda host: host.ask(Rollback(reason="it was slow")), at=at, torn=torn, lost=lost):
            break
        assert served(base) in bundles[:2], f"step {at}"
        assert Host(base, boot="two").ask(Status()).active.version == 1
        assert served(base) == bundles[0]
        assert Host(base, boot="two").ask(Rollback(reason="again")).taken_back.version == 2
        assert events(base).count("rollback") == 1
        at += 1
    assert at > 5, "the steps were not seen"


def test_what_was_reported_is_there_after_the_power_is_cut(boards, bundles, copy):
    base, name = copy(boards["one"]), sha256(bundles[1])
    asked = [
        Receive(sha256=name, size_bytes=len(bundles[1]), part=name, form="whole"),
        Install(sha256=name, allow_unsigned=True),
        Activate(sha256=name, window_s=60),
        Commit(sha256=name),
        Rollback(reason="it was slow"),
    ]
    Host(base)._send(bundles[1], 0, sha256(b""))
    for request in asked:
        files = CutFileSystem(base.parent)
        files.sent(base / "parts" / f"{name}.part")
        given = Host(base, files).ask(request)
        before = served(base), Host(base).ask(Status())
        files.lose()
        assert (served(base), Host(base).ask(Status())) == before
        assert Host(base).ask(request) == given or isinstance(request, Install)


def _flash_until_trial(host, content):
    name = sha256(content)
    host._send(content, 0, sha256(b""))
    host.ask(Receive(sha256=name, size_bytes=len(content), part=name, form="whole"))
    host.ask(Install(sha256=name, allow_unsigned=True))
    return host.ask(Activate(sha256=name, window_s=60))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["1", "2", "3", "rollback", "reboot"]), st.integers(0, 120)), max_size=6))
def test_whatever_is_cut_off_in_whatever_order_one_whole_bundle_is_served(boards, bundles, room, story):
    """What was reported as committed is served, until the next thing that was asked for."""
    with tempfile.TemporaryDirectory(dir=room) as folder:
        base = Path(shutil.copytree(boards["one"], Path(folder) / "board", symlinks=True))
        possible = {bundles[0]}
        for boot, (what, at) in enumerate(story):
            files = CutFileSystem(Path(folder), cut_at=at, torn=at % 2 == 1)
            host = Host(base, files, boot=str(boot))
            try:
                possible = {_told(host, what, bundles, served(base))}
            except PowerCutError:
                files.lose()
                possible = {*possible, *bundles}
            assert served(base) in possible
            status = Host(base, boot="later" + str(boot)).ask(Status())
            assert sha256(served(base)) == status.active.sha256
            assert not status.on_trial
            assert verify_log(base / "audit.jsonl").head == status.audit_head


def _told(host, what, bundles, before):
    if what == "reboot":
        host.ask(Boot())
        return before
    if what == "rollback":
        with contextlib.suppress(UsageError):
            back = host.ask(Rollback(reason="x"))
            return next(content for content in bundles if sha256(content) == back.active.sha256)
        return before
    host.flash(bundles[int(what) - 1], allow_downgrade=True)
    return bundles[int(what) - 1]
