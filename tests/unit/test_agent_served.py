"""The agent asks the server of its device whether it answers with what is active."""

import http.server
import json
import threading

import pytest

from tinsmith.runtime.agent.answers import NOT_RUNNING
from tinsmith.runtime.agent.board import Board
from tinsmith.runtime.agent.served import check_served, start_command
from tinsmith.runtime.agent.state import Installed
from tinsmith.runtime.errors import TinsmithError, VerificationError

ACTIVE = Installed(
    slot="a", sha256="0" * 64, name="cats", version=2, size_bytes=1, signed_by="", artifact="", files={}
)  # fmt: skip


class Server(http.server.ThreadingHTTPServer):
    """Answers as ours does, with the versions of a list, one after the other; the last one stays."""

    def __init__(self, versions, token=""):
        super().__init__(("127.0.0.1", 0), Handler)
        self.versions, self.token = versions, token


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        versions = self.server.versions
        version = versions.pop(0) if len(versions) > 1 else versions[0]
        if self.path != "/v2/models/app" or version is None:
            self._say(400, {"error": "not ready"})
        elif self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self._say(401, {"error": "who are you"})
        else:
            self._say(200, {"name": "app", "versions": [version]})

    def do_POST(self):
        assert self.path == "/v2/repository/index"
        self._say(200, [{"name": "app", "state": "READY", "reason": "its golden inputs differ"}])

    def log_message(self, *_):
        pass

    def _say(self, status, document):
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def board(tmp_path):
    """A board whose server says such versions: (versions, **settings) -> Board."""
    servers = []

    def made(versions, **settings):
        server = Server(versions, settings.pop("token", ""))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        models = [{"name": "app", "path": str(tmp_path / "app.tin")}]
        document = {"host": "127.0.0.1", "port": server.server_port, "models": models, **settings}
        (tmp_path / "server.json").write_text(json.dumps(document))
        return Board(tmp_path)

    yield made
    for server in servers:
        server.shutdown()
        server.server_close()


def check(board, **keys):
    return check_served(board, ACTIVE, pause=lambda _: None, **{"time_limit_s": 60, **keys})


def test_a_server_that_follows_a_moment_later_is_waited_for(board):
    assert "answers with it" in check(board([None, "1", "1", "2"]))


def test_a_server_that_stays_with_another_bundle_is_an_error_with_its_own_reason(board):
    with pytest.raises(VerificationError, match="serves version 1, and not version 2: its golden inputs differ"):
        check(board(["1"]), time_limit_s=0)
    with pytest.raises(VerificationError, match="serves nothing"):
        check(board([None]), time_limit_s=0)


def test_a_server_with_tokens_is_asked_with_one(board, tmp_path):
    (tmp_path / "tokens").write_text("# ours\n\n0123456789abcdef\n")
    assert "answers" in check(board(["2"], token="0123456789abcdef", tokens=str(tmp_path / "tokens")))


def test_a_device_without_a_server_or_with_one_that_does_not_run_is_no_error(board, tmp_path):
    assert check(Board(tmp_path)) == ""
    made = board(["2"])
    settings = json.loads((tmp_path / "server.json").read_text())
    (tmp_path / "server.json").write_text(json.dumps({**settings, "port": 1}))
    assert check(made) == NOT_RUNNING
    (tmp_path / "server.json").write_text("{}")
    with pytest.raises(TinsmithError):
        check(made)


def test_what_starts_a_server_is_what_its_setup_has_left(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    base = tmp_path / "a board"
    base.mkdir()
    assert start_command(base) == ""
    (base / "serve").touch()
    assert start_command(base) == f"'{base}/serve'"
    unit = tmp_path / ".config/systemd/user/tinsmith.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(f'ExecStart="{tmp_path}/other/venv/bin/python" "{tmp_path}/other/server.json"')
    assert start_command(base) == f"'{base}/serve'", "that unit serves another folder"
    unit.write_text(f'ExecStart="{base}/venv/bin/python" -m tinsmith.runtime.server "{base}/server.json"')
    assert start_command(base) == "systemctl --user start tinsmith.service"
    monkeypatch.chdir(tmp_path)
    assert start_command(base.relative_to(tmp_path)) == "systemctl --user start tinsmith.service"
    unit.unlink()
    unit.mkdir()
    assert start_command(base) == f"'{base}/serve'"
