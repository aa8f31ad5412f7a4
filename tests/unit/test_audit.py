"""The audit log: a chain that shows where it was touched."""

import datetime
import json
import multiprocessing
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.runtime.audit import AuditLog, newest_line, verify_log
from tinsmith.runtime.errors import OutputError, VerificationError

NOON = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.timezone.utc)


def log_of(path, lines):
    log = AuditLog(path, now=lambda: NOON)
    for number in range(lines):
        log.append("load", model=f"m{number}", version="1", reason="")
    return log


def test_a_log_grows_by_one_line_each_and_verifies(tmp_path):
    path = tmp_path / "audit.jsonl"
    head = log_of(path, 2).append("refusal", model="m", reason="zwölf\nZeilen")

    assert verify_log(path).lines == 3
    assert verify_log(path).head == head
    entry = json.loads(path.read_text().splitlines()[2])
    assert entry["at"] == "2026-11-27T12:00:00.000+00:00"
    assert entry["reason"] == "zwölf\nZeilen"
    assert path.stat().st_mode & 0o777 == 0o600


def fill(log):
    for _ in range(1000):
        log.append("load", model="m" * 200)


def test_an_empty_log_verifies(tmp_path):
    (tmp_path / "audit.jsonl").touch()

    assert verify_log(tmp_path / "audit.jsonl").lines == 0


@pytest.fixture(scope="module")
def four_lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    log_of(path, 4)
    return path.read_bytes()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_before_the_last_line_can_be_changed_unnoticed(tmp_path, four_lines, data):
    path = tmp_path / "audit.jsonl"
    content = bytearray(four_lines)
    last = content.rindex(b"\n", 0, len(content) - 1)
    at = data.draw(st.integers(0, last))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    number = content[:at].count(b"\n") + 1

    with pytest.raises(VerificationError, match=rf"line ({number}|{number + 1}) of "):
        verify_log(path)


@pytest.mark.parametrize("change", [lambda lines: lines[1:], lambda lines: lines[:1] + lines[2:],
                                    lambda lines: [lines[0], lines[2], lines[1], lines[3]],
                                    lambda lines: [*lines[:2], lines[1], *lines[2:]]])  # fmt: skip
def test_a_line_dropped_moved_or_doubled_is_noticed(tmp_path, change):
    path = tmp_path / "audit.jsonl"
    log_of(path, 4)
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    with pytest.raises(VerificationError, match="does not follow"):
        verify_log(path)


@pytest.mark.parametrize("kept", [1, 40, 200])
def test_a_torn_line_is_named_and_the_next_entry_takes_it_out(tmp_path, kept):
    path = tmp_path / "audit.jsonl"
    log = log_of(path, 2)
    whole = path.read_bytes()
    log.append("swap", model="m" * 300)
    path.write_bytes(path.read_bytes()[: len(whole) + kept])

    with pytest.raises(VerificationError, match=r"line 3 of .* is torn"):
        verify_log(path)

    log.append("unload", model="m")
    assert verify_log(path).lines == 4
    assert path.read_bytes().startswith(whole)
    assert [json.loads(line)["event"] for line in path.read_bytes().splitlines()] == [
        "load",
        "load",
        "repair",
        "unload",
    ]


def test_lines_longer_than_a_block_are_followed(tmp_path):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    for size in (10_000, 4096, 8192, 3):
        log.append("refusal", reason="x" * size)

    assert verify_log(path).lines == 4


def test_threads_write_one_chain(tmp_path):
    path = tmp_path / "audit.jsonl"
    threads = [threading.Thread(target=log_of, args=[path, 10]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert verify_log(path).lines == 80


def test_processes_write_one_chain(tmp_path):
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=log_of, args=[path, 10]) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert verify_log(path).lines == 40


def test_a_log_that_can_not_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        AuditLog(tmp_path / "missing" / "audit.jsonl").append("load", model="m")


def test_a_full_disk_is_reported_and_tears_no_line(small_disk):
    log = AuditLog(small_disk / "audit.jsonl")
    with pytest.raises(OutputError, match="No space left"):
        fill(log)

    assert verify_log(log.path).lines > 10


def test_the_newest_line_is_the_last_whole_one(tmp_path):
    path = tmp_path / "audit.jsonl"
    assert (newest_line(path).head, newest_line(path).facts) == ("0" * 64, {})
    head = AuditLog(path).append("trial", model="cats", reason="x" * 9000)
    with path.open("ab") as stream:
        stream.write(b'{"at": "torn')
    found = newest_line(path)
    assert (found.head, found.facts["model"]) == (head, "cats")
    path.write_bytes(b"no entry\n")
    assert newest_line(path).facts == {}
