"""The journal of a rollout says what was written to it, wherever it was cut."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.flashing.deployment import Sent
from tinsmith.devices.flashing.flash import Cargo, Permissions
from tinsmith.devices.fleet.journal import begin_journal, find_rollout, list_rollouts, open_journal
from tinsmith.devices.fleet.outcome import Outcome
from tinsmith.devices.fleet.plan import Plan
from tinsmith.devices.fleet.waves import Share, plan_waves
from tinsmith.runtime.errors import (
    BusyError,
    DataError,
    NoRoomError,
    OutputError,
    RolledBackError,
    UnreachableError,
    UsageError,
)
from tinsmith.runtime.fields import fields_of

NAMES = tuple(f"d{number}" for number in range(5))
PLAN = Plan(
    cargo=Cargo(path=Path("/srv/app.tin"), sha256="ab" * 32, name="cats", version=3),
    devices=NAMES,
    waves=plan_waves(NAMES, canary=("d1",), steps=(Share(percent=50),)),
    permissions=Permissions(unsigned=True, window_s=2.5),
    forced=("fit",),
    max_failures_percent=12.5,
    parallel=3,
)
ERRORS = (UnreachableError("d: it is off", hint="wait"), RolledBackError("ü\n2028: \u2028"), NoRoomError("full"))


def outcome(name, error=None):
    result = {None: "done", UnreachableError: "later", RolledBackError: "rolled back"}.get(
        type(error) if error else None, "failed"
    )
    sent = Sent(form="lzma", size_bytes=10, resumed_bytes=2)
    version = None if error else 3
    return Outcome(device=name, address="local", result=result, version=version, sent=sent, took_s=1.5,
                   audit_head="cd" * 32, error=error)  # fmt: skip


OUTCOMES = [outcome("d1"), outcome("d0", ERRORS[0]), outcome("d2", ERRORS[1]), outcome("d0"), outcome("d4", ERRORS[2])]


def said(outcomes):
    return {name: one.to_json() for name, one in outcomes.items()}


def latest(outcomes):
    return {one.device: one.to_json() for one in outcomes}


@pytest.fixture
def written(tmp_path):
    with begin_journal(PLAN, tmp_path / "deep/rollouts") as journal:
        for one in OUTCOMES:
            journal.append(one)
    return journal.record.path


def test_it_says_what_was_written(written):
    (record,) = list_rollouts(written.parent)

    assert record.plan == PLAN
    assert said(record.outcomes) == latest(OUTCOMES)
    assert record.left == 3
    assert [type(record.outcomes[name].error) for name in ("d2", "d4")] == [RolledBackError, NoRoomError]
    assert record.outcomes["d2"].exit_code == 7


def test_cut_at_any_byte_it_says_what_was_whole_and_goes_on_from_there(written, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the disk is not what is cut here
    content = written.read_bytes()
    first, _, third, *_ = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(first, third + 1):
        written.write_bytes(content[:cut])
        whole = OUTCOMES[: content[first:cut].count(b"\n")]
        (record,) = list_rollouts(written.parent)
        assert said(record.outcomes) == latest(whole)

        with open_journal(written) as journal:
            assert said(journal.record.outcomes) == latest(whole)
            journal.append(outcome("d3"))
        assert said(list_rollouts(written.parent)[0].outcomes) == latest([*whole, outcome("d3")])


def test_a_journal_appears_with_its_plan_or_not_at_all(written):
    content = written.read_bytes()
    first = content.index(b"\n") + 1
    for cut in (0, 1, first // 2, first - 1):
        written.write_bytes(content[:cut])
        with pytest.raises(DataError, match=written.name), open_journal(written):
            pass
        assert written.read_bytes() == content[:cut]


@given(at=st.integers(0, 10_000), byte=st.binary(min_size=1, max_size=1))
def test_a_changed_byte_is_read_or_refused_and_never_a_defect(journal_bytes, at, byte):
    content = bytearray(journal_bytes.read_bytes())
    content[at % len(content)] = byte[0]
    (changed := journal_bytes.parent / "changed").mkdir(exist_ok=True)
    (changed / "x.jsonl").write_bytes(content)
    try:
        refused = None
        list_rollouts(changed)
    except DataError as error:
        refused = error
    assert refused is None or "move that file away" in refused.hint


@pytest.fixture(scope="module")
def journal_bytes(tmp_path_factory):
    with begin_journal(PLAN, tmp_path_factory.mktemp("journal")) as journal:
        for one in OUTCOMES:
            journal.append(one)
    return journal.record.path


def test_one_process_at_a_time(written):
    with open_journal(written), pytest.raises(BusyError, match=written.stem), open_journal(written):
        pass
    with open_journal(written):
        pass


def test_a_killed_process_leaves_what_it_wrote_and_no_lock(tmp_path):
    script = (
        "import os, sys, pathlib; sys.path.insert(0, sys.argv[2]); from test_fleet_journal import *\n"
        "with begin_journal(PLAN, pathlib.Path(sys.argv[1])) as journal:\n"
        "    journal.append(OUTCOMES[0]); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path, Path(__file__).parent], check=False)
    assert killed.returncode == -9

    with open_journal(find_rollout("", tmp_path)) as journal:
        assert said(journal.record.outcomes) == latest(OUTCOMES[:1])


def test_the_newest_that_is_not_done_is_gone_on_with(tmp_path):
    with pytest.raises(UsageError, match="no rollout"):
        find_rollout("", tmp_path / "none")
    with begin_journal(PLAN, tmp_path) as journal:
        first = journal.record.path
    with begin_journal(PLAN, tmp_path) as journal:
        for name in NAMES:
            journal.append(outcome(name))
    journal.record.path.rename(tmp_path / f"9{journal.record.path.name}")

    assert find_rollout("", tmp_path) == first
    assert find_rollout(f"9{journal.record.id}", tmp_path).stem == f"9{journal.record.id}"
    for name in ("x", "../x", f"../{tmp_path.name}/{first.stem}", "*"):
        with pytest.raises(UsageError, match="there is no rollout"):
            find_rollout(name, tmp_path)


def test_a_full_disk_is_told_and_takes_nothing_away(written, monkeypatch):
    before = written.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_journal(written) as journal:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space"):
            journal.append(outcome("d3"))
    assert written.read_bytes() == before


def test_a_folder_that_can_t_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError), begin_journal(PLAN, tmp_path / "file/rollouts"):
        pass


@given(text=st.text(max_size=40))
def test_what_a_device_says_comes_back_as_it_was(text):
    before = outcome("d1", NoRoomError(text or "x", hint=text))

    after = Outcome.read(fields_of(json.dumps(before.to_json()).encode(), of="the line"))

    assert after.to_json() == before.to_json()
