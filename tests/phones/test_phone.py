"""Phones without Python: the same slots, states, errors and audit lines as a board's, by a shell script alone."""

import json
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tinsmith.devices.flashing.flash import Permissions
from tinsmith.devices.flashing.phone_runner import latency_ms_of
from tinsmith.devices.transports.faults import Cut, FaultyTransport
from tinsmith.runtime.agent.answers import InstalledBundle, MissingBytes, RolledBack
from tinsmith.runtime.agent.board import Board
from tinsmith.runtime.agent.requests import Facts, Health, Missing, Rollback
from tinsmith.runtime.audit import verify_log
from tinsmith.runtime.bundle.secret_key import new_secret_key
from tinsmith.runtime.errors import (
    DeviceError,
    ModelLoadError,
    ModelTimeoutError,
    NoRoomError,
    RolledBackError,
    UsageError,
    VerificationError,
)
from tinsmith.runtime.files import sha256_of

FREE_PERMISSIONS = Permissions(unsigned=True, window_s=30)


def lines(phone):
    return [json.loads(line) for line in (phone.base / "audit.jsonl").read_text().splitlines()]


def test_a_bundle_is_flashed_and_another_and_gone_back(phone, make, served):
    one, two = make(1), make(2)
    first, second = phone.flash(one), phone.flash(two)

    assert (first.before, first.changed, first.active.version) == (None, True, 1)
    assert (second.before.version, second.active.version, second.active.slot) == (1, 2, "b")
    assert (second.sent.form, second.sent.size_bytes) == ("whole", two.stat().st_size)
    assert served() == two.read_bytes()
    assert verify_log(phone.base / "audit.jsonl").head == second.audit_head
    assert [line["event"] for line in lines(phone)] == ["trial", "commit"] * 2
    back = phone.agent().ask(Rollback(reason="it was slow"), RolledBack)
    assert (back.active.version, back.taken_back.version) == (1, 2)
    assert served() == one.read_bytes()
    assert phone.agent().ask(Rollback(reason="it was slow"), RolledBack) == back
    assert [line["event"] for line in lines(phone)][4:] == ["rollback"]
    assert not [path for path in phone.base.rglob("*") if path.is_file() and path.parent.name in (".new", "parts")]


def test_what_a_phone_holds_is_what_an_agent_reads(phone, make):
    """The layout is the same to the byte: should the phone get Python, its agent goes on."""
    phone.flash(make(1))
    phone.flash(make(2))
    board = Board(phone.base)
    state = board.state()

    assert (board.serving(), state.committed, state.back, state.trial) == ("b", "b", "a", None)
    assert all(board.is_whole(installed) for installed in state.slots.values())
    assert board.newest_line().head == phone.status().audit_head
    assert state.highest["cats"].version == 2


def test_the_same_bundle_again_changes_nothing_and_sends_nothing(phone, make):
    done = phone.flash(make(1))
    before = {path: path.stat().st_mtime_ns for path in phone.base.rglob("*") if path.is_file() and path.name != "lock"}
    again = phone.flash(make(1))

    assert (again.changed, again.sent.size_bytes, again.audit_head) == (False, 0, done.audit_head)
    after = {path: path.stat().st_mtime_ns for path in phone.base.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


class TestWhatIsRun:
    def test_without_a_program_that_runs_it_it_is_unverified_and_that_is_kept(self, phone, make):
        done = phone.flash(make(1))

        assert (done.verified, done.engine) == (False, "")
        assert phone.status().active.verified is False
        assert phone.flash(make(1)).verified is False
        assert {line["checked"] for line in lines(phone)} == {"unverified on device"}

    def test_a_program_that_runs_it_is_given_the_new_artifact_before_the_switch(self, phone, make):
        phone.flash(make(1))
        phone.gets_runner(
            'echo "$1" >> "$0.told"; readlink "${0%/*}/current" >> "$0.told"; '
            'echo "Inference timings in us: Init: 5685, First inference: 4, Inference (avg): 1234.5"'
        )
        done = phone.flash(make(2))

        assert (done.verified, done.engine, done.golden) == (
            True, "benchmark_model", "exit code 0; it prints 1.234 ms",
        )  # fmt: skip
        told = Path(f"{phone.base}/benchmark_model.told").read_text().splitlines()
        assert told[:2] == [f"--graph={phone.base}/slots/b/artifact/small.tflite", "slots/a"]
        assert [line["checked"] for line in lines(phone)][2:] == [
            "benchmark_model: exit code 0; it prints 1.234 ms"
        ] * 2
        assert phone.agent().ask(Health(), InstalledBundle).engine == "benchmark_model"

    def test_a_program_of_the_users_gets_the_path_alone(self, phone, make):
        phone.runner = str(phone.gets_runner('[ -f "$1" ] && echo "it took 5.5 ms"', name="run it"))
        assert phone.flash(make(1)).golden == "exit code 0; it prints 5.5 ms"

    def test_one_that_fails_changes_nothing_and_leaves_a_line(self, phone, make, served):
        phone.flash(make(1))
        phone.gets_runner("echo 'Op builtin_code out of range' >&2; exit 3")
        with pytest.raises(ModelLoadError, match=r"phone: run: benchmark_model ended with exit code 3: Op builtin"):
            phone.flash(make(2))
        assert served() == make(1).read_bytes()
        assert (lines(phone)[-1]["event"], lines(phone)[-1]["stage"]) == ("refusal", "run")
        assert not (phone.base / "slots" / "b").exists()
        phone.gets_runner("exit 0")
        assert phone.flash(make(2)).verified

    def test_one_that_hangs_is_killed(self, phone, make):
        phone.gets_runner("exec sleep 50")
        with pytest.raises(ModelTimeoutError, match=r"did not end within 0\.2 s"):
            phone.flash(make(1), replace(FREE_PERMISSIONS, time_limit_s=0.2))

    def test_one_that_is_killed_for_its_time_is_told_from_others_whatever_a_clock_says(self, phone, make, tmp_path):
        """Here the time is over at once, and no clock has moved; mksh and busybox have a sleep of their own."""
        (tmp_path / "fast" / "sleep").symlink_to(shutil.which("true"))
        phone.gets_runner("while :; do :; done")
        with pytest.raises(ModelTimeoutError, match=r"did not end within 0\.2 s"):
            phone.flash(make(1), replace(FREE_PERMISSIONS, time_limit_s=0.2))

    def test_one_that_somebody_else_kills_has_not_run_out_of_time(self, phone, make):
        phone.gets_runner("kill -9 $$")
        with pytest.raises(ModelLoadError, match="ended with exit code 137, as where memory runs out"):
            phone.flash(make(1))
        assert not list((phone.base / ".new").iterdir())

    def test_one_that_fails_in_the_health_window_takes_the_update_back(self, phone, make, served):
        phone.gets_runner("exit 0")
        phone.flash(make(1))
        with pytest.raises(RolledBackError, match="phone: health window: version 2 of cats was taken back"):
            phone.flash(make(2), between=lambda: phone.gets_runner("kill -9 $$"))
        assert served() == make(1).read_bytes()
        assert lines(phone)[-1]["event"] == "rollback"

    def test_one_that_is_named_and_not_there_is_no_reason_to_go_unverified(self, phone, make):
        phone.runner = "/data/local/tmp/run"
        with pytest.raises(DeviceError, match=r"phone: runner: .*/run, which the inventory names") as caught:
            phone.flash(make(1))
        assert "adb push run /data/local/tmp/run" in caught.value.hint

    @pytest.mark.parametrize(
        ("text", "latency_ms"),
        [
            ("Inference timings in us: Init: 1, Warmup (avg): 9.5, Inference (avg): 2500\nPeak 3 ms", 2.5),
            ("Inference (avg): 1.5e+06", 1500),
            ("warmup 9 ms\nmean 7.25ms", 7.25),
            ("250 us", 0.25),
            ("Model v2s 33 items", None),
            ("", None),
        ],
    )
    def test_printed_latencies_are_read(self, text, latency_ms):
        assert latency_ms_of(text) == latency_ms


class TestWhatIsRefused:
    def test_a_bundle_that_nobody_signed_a_wrong_key_and_a_stale_version(self, phone, make, tmp_path):
        ours, other = new_secret_key(), new_secret_key()
        (tmp_path / "ours.pub").write_text(ours.public.to_text())
        with pytest.raises(VerificationError, match="phone: signature: the inventory names no key"):
            phone.flash(make(1), replace(FREE_PERMISSIONS, unsigned=False))
        phone.trust = (str(tmp_path / "ours.pub"),)
        with pytest.raises(VerificationError, match="phone: signature: the bundle is not signed"):
            phone.flash(make(1))
        with pytest.raises(VerificationError, match="phone: signature: the bundle is signed by the key"):
            phone.flash(make(2, signing_key=other))
        assert not list((phone.base / "parts").iterdir()), "something was sent"
        assert phone.flash(make(2, signing_key=ours)).active.signed_by
        with pytest.raises(VerificationError, match=r"phone: version: .* has had version 2"):
            phone.flash(make(1, signing_key=ours))
        assert phone.flash(make(1, signing_key=ours), replace(FREE_PERMISSIONS, downgrade=True)).active.version == 1

    def test_what_was_changed_on_the_way_and_what_was_changed_there(self, phone, make):
        class Flipping(type(phone.transport)):
            def put(self, source, destination, **keys):
                super().put(source, destination, **keys)
                content = bytearray(Path(destination).read_bytes())
                content[-5] ^= 1
                Path(destination).write_bytes(content)

        with pytest.raises(VerificationError, match="phone: receive: what has come is not what was sent"):
            phone.flash(make(1), transport=Flipping())
        assert phone.flash(make(1)).active.version == 1
        (phone.base / "current" / "artifact" / "small.tflite").write_bytes(b"x")
        with pytest.raises(VerificationError, match="phone: hash: version 1 in slot a has changed"):
            phone.agent().ask(Health(), InstalledBundle)
        assert phone.flash(make(2)).active.version == 2
        with pytest.raises(VerificationError, match="slot a is damaged, and was not gone back to"):
            phone.agent().ask(Rollback(reason="why not"), RolledBack)

    def test_a_phone_that_lacks_a_program_is_told_which(self, phone, make, tmp_path, monkeypatch):
        (tmp_path / "few").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "few"))
        (tmp_path / "few" / "sh").symlink_to("/bin/sh")
        with pytest.raises(DeviceError, match="phone: request: it has no program flock"):
            phone.status()

    def test_what_only_an_agent_answers(self, phone):
        with pytest.raises(UsageError, match="does not answer facts"):
            phone.agent().ask(Facts(), InstalledBundle)

    def test_nothing_to_go_back_to(self, phone):
        with pytest.raises(UsageError, match="phone: rollback: there is nothing to go back to"):
            phone.agent().ask(Rollback(reason="why not"), RolledBack)


class TestInBetween:
    def test_an_upload_that_was_cut_off_goes_on_at_the_byte(self, phone, make):
        path = make(1, 3 << 20)
        way = FaultyTransport(phone.transport)
        way.faults.append(Cut(after_bytes=2 << 20))
        with pytest.raises(DeviceError):
            phone.flash(path, transport=way)
        done = phone.flash(path)

        assert done.sent.resumed_bytes >= 1 << 20
        assert done.sent.resumed_bytes + done.sent.size_bytes == path.stat().st_size

    def test_a_part_that_is_of_something_else_is_not_gone_on_from(self, phone, make):
        path = make(1)
        name, size = sha256_of(path), path.stat().st_size
        phone.status()
        (phone.base / "parts" / f"{name}.part").write_bytes(b"x" * 100)
        about = Missing(sha256=name, size_bytes=size, part=name, part_bytes=size)
        assert phone.agent().ask(about, MissingBytes).part_bytes == 100
        assert phone.flash(path).sent.resumed_bytes == 0

    def test_two_hosts_at_once_the_second_is_told_and_harms_nothing(self, phone, make, served):
        def also():
            with pytest.raises(DeviceError, match="phone: install: another update is on trial"):
                phone.flash(make(2))

        assert phone.flash(make(1), between=also).active.version == 1
        assert served() == make(1).read_bytes()

    def test_a_host_that_has_looked_changes_nothing_once_another_has(self, phone, make):
        phone.flash(make(1))
        phone.flash(make(2))
        agent = phone.agent()
        look = agent._look

        def look_and_wait(time_limit_s):
            seen = look(time_limit_s)
            phone.agent().ask(Rollback(reason="it was slow"), RolledBack)
            return seen

        agent._look = look_and_wait
        with pytest.raises(DeviceError, match="somebody else has updated this device"):
            agent.ask(Rollback(reason="why not"), RolledBack)
        assert phone.status().active.version == 1
        assert [line["event"] for line in lines(phone)].count("rollback") == 1

    def test_while_somebody_holds_the_lock_a_status_says_so(self, phone, make):
        import fcntl

        phone.flash(make(1))
        with (phone.base / "lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            assert phone.status().busy
        assert not phone.status().busy

    def test_an_update_that_nobody_commits_is_taken_back_when_its_time_is_over_or_the_phone_was_started(
        self, phone, make, served
    ):
        phone.flash(make(1))

        def die():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            phone.flash(make(2), between=die)
        assert served() == make(2).read_bytes()
        assert phone.status().on_trial
        state = json.loads((phone.base / "state.json").read_text())
        state["trial"]["boot_id"] = "another"
        (phone.base / "state.json").write_text(json.dumps(state))
        found = phone.status()
        assert (found.active.version, found.on_trial) == (1, False)
        assert "started again" in found.resolved
        assert served() == make(1).read_bytes()
        assert phone.flash(make(2)).active.version == 2

    def test_a_torn_line_of_the_audit_log_is_taken_out_and_a_line_says_so(self, phone, make):
        phone.flash(make(1))
        with (phone.base / "audit.jsonl").open("ab") as stream:
            stream.write(b'{"at": "20\0\0')
        done = phone.flash(make(2))

        assert verify_log(phone.base / "audit.jsonl").head == done.audit_head
        assert [line["event"] for line in lines(phone)][2:] == ["repair", "trial", "commit"]

    def test_whoever_reads_the_link_while_it_is_switched_always_finds_a_bundle(self, phone, make):
        phone.flash(make(1))
        done, missed = threading.Event(), []

        def read():
            while not done.is_set():
                if not (phone.base / "current" / "app.tin").is_file():
                    missed.append(1)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for version in (2, 3):
                phone.flash(make(version))
                phone.agent().ask(Rollback(reason="back"), RolledBack)
        finally:
            done.set()
            reader.join()
        assert not missed

    def test_parts_that_nobody_went_on_with_for_days_are_taken_away(self, phone):
        phone.status()
        for name, age_s in (("old.part", 3 * 86_400), ("new.part", 60)):
            path = phone.base / "parts" / name
            path.write_bytes(b"x")
            os.utime(path, (path.stat().st_mtime - age_s,) * 2)
        phone.agent().ask(Missing(sha256="0" * 64, size_bytes=1, part="0" * 64, part_bytes=1), MissingBytes)
        assert len(list((phone.base / "parts").iterdir())) == 2
        phone.status()
        assert [path.name for path in (phone.base / "parts").iterdir()] == ["new.part"]


def test_a_full_disk_is_told_and_harms_nothing(phone, make, served):
    """A disk of its own takes root."""
    phone.flash(make(1))
    kept = phone.base.with_name("kept")
    shutil.copytree(phone.base, kept, symlinks=True)
    if subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=128k", "none", phone.base], capture_output=True, check=False
    ).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        shutil.copytree(kept, phone.base, symlinks=True, dirs_exist_ok=True)
        with pytest.raises(DeviceError) as caught:
            phone.flash(make(2, 60_000))
        assert isinstance(caught.value, NoRoomError), caught.value
        assert served() == make(1).read_bytes()
        assert phone.flash(make(3, 10_000)).active.version == 3
    finally:
        subprocess.run(["/bin/umount", phone.base], check=True)
