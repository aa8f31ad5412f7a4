"""The script is killed between any two commands: the old bundle is served, or the new one, whole, and all goes on."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinsmith.devices.transports.local import LocalTransport
from tinsmith.runtime.agent.answers import RolledBack
from tinsmith.runtime.agent.requests import Rollback
from tinsmith.runtime.audit import verify_log

# Counts each command of a step, in subshells too, and kills the script before one of them.
_KILLER = (
    'step_() {{ echo -n x >> "{count}"; read -r said_ < "{count}" || :; '
    "if [ ${{#said_}} -eq {at} ]; then kill -9 $$; fi; }}\n"
    "PS4='$(step_)'\n"
)
_STEP = '  shift\n  "$@"\n}'


@dataclass(frozen=True)
class Change:
    """A step that changes something: the phone before it, and how it was asked for."""

    before: Path
    arguments: tuple[str, ...]
    stdin: bytes

    @property
    def name(self):
        return self.arguments[7]


class Recording(LocalTransport):
    """Keeps what each step began from."""

    def __init__(self, base, folder):
        super().__init__()
        self.changes = []
        self._base, self._folder = base, folder

    def run(self, arguments, *, stdin=b"", time_limit_s):
        if list(arguments[5:6]) == ["change"]:
            before = self._folder / f"before-{len(self.changes)}"
            shutil.copytree(self._base, before, symlinks=True)
            self.changes.append(Change(before, tuple(arguments), stdin))
        return super().run(arguments, stdin=stdin, time_limit_s=time_limit_s)


def killed(change, at, count):
    """The step, killed before its command of that number; False where it ended before."""
    count.write_bytes(b"")
    script = change.arguments[2]
    assert script.count(_STEP) == 1
    script = _KILLER.format(count=count, at=at) + script.replace(_STEP, '  shift\n  set -x\n  "$@"\n}')
    arguments = [*change.arguments[:2], script, *change.arguments[3:]]
    ran = LocalTransport().run(arguments, stdin=change.stdin, time_limit_s=30)
    assert ran.code in (0, 137), ran
    return ran.code == 137


def restore(phone, before):
    shutil.rmtree(phone.base)
    shutil.copytree(before, phone.base, symlinks=True)


def fingerprint(base):
    """What lies there, but for what nobody reads."""
    digest = hashlib.sha256()
    for path in sorted(base.rglob("*")):
        what = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        digest.update(f"{path.relative_to(base)} {what!r}\n".encode())
    return digest.hexdigest()


def cuts(phone, changes, folder):
    """The phone after each kill, once where several leave the same; gives (name of the step, cuts so far)."""
    seen, count = set(), 0
    for change in changes:
        at = 1
        while True:
            restore(phone, change.before)
            if not killed(change, at, folder / "count"):
                break
            count, at = count + 1, at + 1
            if (found := fingerprint(phone.base)) not in seen:
                seen.add(found)
                yield change.name, count
    assert count > 5 * len(changes), "the commands were not seen"


@pytest.mark.parametrize("start", [0, 2])
def test_a_flash_that_is_killed_anywhere(phone, make, served, room, start, request):
    if start == 0 and not request.config.getoption("--boards"):
        pytest.skip("its steps are those of a later flash, and it takes half a minute: make test-boards")
    phone.gets_runner("exit 0")
    for version in range(1, start + 1):
        phone.flash(make(version))
    old, new = served(), make(3)
    recording = Recording(phone.base, room)
    done = phone.flash(new, transport=recording)
    names = [change.name for change in recording.changes]
    assert names[:2] == ["receive", "save" if start == 2 else "fill"]
    assert names[-3:] == ["serve", "save", "note"]

    for name, count in cuts(phone, recording.changes, room):
        found = served()
        assert found in (old, new.read_bytes()), (name, count)
        status = phone.status()
        assert served() in (old, new.read_bytes()), (name, count)
        assert (status.active and status.active.version) == (3 if served() == new.read_bytes() else start or None)
        assert status.on_trial == (served() == new.read_bytes() and status.highest.get("cats") != 3)
        again = phone.flash(new)
        assert (again.active.version, again.verified, served()) == (3, done.verified, new.read_bytes())
        assert again.sent.size_bytes == 0, (name, count)
        assert verify_log(phone.base / "audit.jsonl").head == phone.status().audit_head == again.audit_head
        assert _events(phone).count("commit") == start + 1


def test_a_rollback_that_is_killed_anywhere(phone, make, served, room):
    for version in (1, 2):
        phone.flash(make(version))
    one, two = make(1).read_bytes(), make(2).read_bytes()
    recording = Recording(phone.base, room)
    phone.agent(transport=recording).ask(Rollback(reason="it was slow"), RolledBack)

    for name, count in cuts(phone, recording.changes, room):
        assert served() in (one, two), (name, count)
        assert phone.status().active.version == (1 if served() == one else 2)
        back = phone.agent().ask(Rollback(reason="it was slow"), RolledBack)
        assert (back.active.version, back.taken_back.version, served()) == (1, 2, one)
        assert _events(phone).count("rollback") == 1
        assert verify_log(phone.base / "audit.jsonl").head == back.audit_head


def test_nothing_gets_its_name_before_the_disk_has_its_content_nor_is_told_before_the_disk_has_its_name(
    phone, make, tmp_path
):
    """Each step that renames waits for the disk before and after it; the one that fills a slot waits at its end."""
    recording = Recording(phone.base, tmp_path)
    for version in (1, 2):
        phone.flash(make(version), transport=recording)
    for change in recording.changes:
        restore(phone, change.before)
        script = change.arguments[2].replace(_STEP, '  shift\n  set -x\n  "$@"\n}')
        arguments = [*change.arguments[:2], script, *change.arguments[3:]]
        trace = LocalTransport().run(arguments, stdin=change.stdin, time_limit_s=30).stderr.decode()
        steps = [
            words[1] for line in trace.splitlines() if len(words := line.split()) > 1 and words[0].strip("+") == ""
        ]
        steps = [step for step in steps if step in ("mv", "settle", "sync", "ln", "printf", "cat", "rm", "head")]
        steps = [step for step in steps if step != "sync" or change.name == "fill"]
        if change.name in ("save", "serve", "receive"):
            assert steps[-3:] == ["settle", "mv", "settle"], change.name
        elif change.name in ("fill", "note"):
            assert steps[-1] in ("settle", "sync"), change.name


def _events(phone):
    return [json.loads(line)["event"] for line in (phone.base / "audit.jsonl").read_text().splitlines()]
