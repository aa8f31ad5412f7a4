"""What stands in the files of the client: settings, journal, unit."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.runtime.agent.board import Board
from tinsmith.runtime.agent.ddi.feedback import Feedback
from tinsmith.runtime.agent.ddi.journal import ACTIVATING, Action, Journal, JournalFile
from tinsmith.runtime.agent.ddi.packaging import unit
from tinsmith.runtime.agent.ddi.settings import HawkbitSettings, Token, read_settings
from tinsmith.runtime.errors import UsageError, VerificationError

LEAST = {"schema": 1, "url": "https://hawkbit.example.com/", "controller_id": "board 7/ä"}


def read(folder, **document):
    (folder / "hawkbit.json").write_text(json.dumps({**LEAST, **document}))
    return read_settings(folder)


class TestSettings:
    def test_little_needs_to_be_said(self, tmp_path):
        settings = read(tmp_path)
        assert settings == HawkbitSettings(
            url="https://hawkbit.example.com", tenant="DEFAULT", controller_id="board 7/ä"
        )
        assert settings.root == "https://hawkbit.example.com/DEFAULT/controller/v1/board%207%2F%C3%A4"

    def test_all_may_be_said(self, tmp_path):
        said = {
            "url": "http://127.0.0.1:8080/update", "tenant": "T", "gateway_token": "secret/token", "ca_file": "/ca.pem",
            "allow_unsigned": True, "confirm": False, "report_installed": False, "window_s": 0, "time_limit_s": 5,
            "poll_s": 60,
        }  # fmt: skip
        settings = read(tmp_path, **said)
        assert settings.token == Token(scheme="GatewayToken", path=tmp_path / "secret/token")
        assert str(settings.ca_file) == "/ca.pem"
        assert (settings.confirm, settings.report_installed, settings.window_s, settings.poll_s) == (
            False,
            False,
            0,
            60,
        )
        assert settings.root == "http://127.0.0.1:8080/update/T/controller/v1/board%207%2F%C3%A4"

    @pytest.mark.parametrize(
        ("document", "said"),
        [
            ({"controler_id": "x"}, "unknown key: controler_id"),
            ({"schema": 2}, "schema 2"),
            ({"controller_id": ""}, "controller_id"),
            ({"url": "hawkbit.example.com"}, "no address"),
            ({"url": "ftp://hawkbit.example.com"}, "no address"),
            ({"url": "https://user:secret@hawkbit.example.com"}, "no address"),
            ({"url": "https://[::1"}, "no address"),
            ({"url": "https://x y"}, "no address"),
            ({"target_token": "a", "gateway_token": "b"}, "two tokens"),
            ({"url": "http://hawkbit.example.com", "target_token": "a"}, "in the open"),
            ({"poll_s": 0}, "poll_s"),
            ({"window_s": -1}, "window_s"),
            ({"allow_unsigned": "yes"}, "allow_unsigned"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, document, said):
        with pytest.raises(UsageError, match=said) as caught:
            read(tmp_path, **document)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 50_000])
    def test_what_is_no_document_is_said(self, tmp_path, content):
        (tmp_path / "hawkbit.json").write_bytes(content)
        with pytest.raises(UsageError, match=r"hawkbit\.json"):
            read_settings(tmp_path)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(UsageError, match=r"cannot read .*hawkbit\.json: No such file"):
            read_settings(tmp_path)

    @pytest.mark.parametrize("content", ["", "two words", "t\x00ken", "tökenn", "a\r\nX-Evil: 1"])
    def test_a_token_is_one_word_and_never_said(self, tmp_path, content):
        path = tmp_path / "token"
        path.write_text(content)
        with pytest.raises(UsageError) as caught:
            Token(scheme="TargetToken", path=path).header()
        assert content == "" or content not in str(caught.value)


NAMES = st.text(min_size=1, max_size=20)
FEEDBACK = st.builds(
    Feedback,
    link=NAMES,
    action=NAMES,
    execution=st.sampled_from(["proceeding", "downloaded", "closed", "rejected"]),
    finished=st.sampled_from(["none", "success", "failure"]),
    details=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    code=st.none() | st.integers(0, 70),
    bundle=st.sampled_from(["", "a" * 64]),
)
ACTION = Action(id="1", link="http://x/1", sha256="a" * 64, stage=ACTIVATING, since=3)


class TestJournal:
    @settings(max_examples=25)
    @given(owed=st.lists(FEEDBACK, max_size=5), ended=st.lists(FEEDBACK, max_size=5))
    def test_it_comes_back(self, tmp_path_factory, owed, ended):
        board = Board(tmp_path_factory.mktemp("board"))
        journal = Journal(action=ACTION, owed=tuple(owed), ended=tuple(ended), denied="3", reported="b" * 64)
        JournalFile(board).write(journal)
        assert JournalFile(board).journal == journal

    @given(st.lists(FEEDBACK, max_size=80))
    def test_what_is_owed_is_bounded_and_closures_are_kept_longest(self, said):
        owed = Journal().owing(*said).owed
        closures = [one for one in dict.fromkeys(said) if one.closes]
        assert len(owed) <= 40
        assert [one for one in owed if one.closes] == closures[-40:]

    def test_an_action_is_over_with_its_closure(self):
        end = ACTION.says("closed", "done", finished="success")
        journal = Journal(action=ACTION).closed(end)
        assert (journal.action, journal.owed, journal.end_of("1"), journal.end_of("2")) == (None, (end,), end, None)
        assert journal.dropped(end) == replace(journal, owed=())
        assert journal.taken(end) == Journal()
        for number in range(2, 30):
            journal = journal.closed(replace(end, action=str(number)))
        assert (len(journal.ended), journal.end_of("1")) == (8, None)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 9}', b'{"schema": 1, "action": {"id": "1"}}'])
    def test_a_damaged_one_is_said_with_what_to_do(self, tmp_path, content):
        (tmp_path / "hawkbit-action.json").write_bytes(content)
        with pytest.raises(VerificationError, match=r"hawkbit-action\.json") as caught:
            JournalFile(Board(tmp_path))
        assert "move it away" in caught.value.hint

    def test_long_messages_are_cut(self):
        document = ACTION.says("closed", "x" * 5000, finished="failure", code=6).document()
        assert document == {
            "id": "1",
            "status": {"execution": "closed", "result": {"finished": "failure"}, "details": ["x" * 500], "code": 6},
        }


class TestUnit:
    def test_the_child_that_tries_a_bundle_is_not_ended_with_the_client(self):
        lines = unit(PurePosixPath("/var/lib/tinsmith"), python=PurePosixPath("/opt/venv/bin/python")).splitlines()
        assert 'ExecStart="/opt/venv/bin/python" -m tinsmith.runtime.agent.ddi "/var/lib/tinsmith"' in lines
        assert "KillMode=mixed" in lines
        assert "ConditionPathExists=/var/lib/tinsmith/hawkbit.json" in lines

    def test_paths_are_escaped(self):
        text = unit(PurePosixPath('/srv/a "b" 100%$x'), python=PurePosixPath("/p"))
        assert 'ExecStart="/p" -m tinsmith.runtime.agent.ddi "/srv/a \\"b\\" 100%%$$x"' in text
        assert 'ConditionPathExists=/srv/a "b" 100%%$x/hawkbit.json' in text

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
    def test_systemd_takes_it(self, tmp_path):
        path = tmp_path / "tinsmith-hawkbit.service"
        path.write_text(unit(PurePosixPath("/srv/a b%"), python=PurePosixPath("/bin/true")))
        ran = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
        assert "tinsmith-hawkbit" not in ran.stderr
