"""`tinsmith monitor` against a server on this machine that answers as ours does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tinsmith.runtime.monitor.monitors import Monitors
from tinsmith.runtime.server.serving import Servable
from tinsmith.runtime.server.statistics import Statistics

TOKEN = "0123456789abcdef"


class Model:
    """A served model that is there, without an engine."""

    def __init__(self, name):
        self.servable = Servable(name=name, version="1", path="x", format="tflite", sha256="f" * 64)
        self.engine = "litert 2.3.0"
        self.statistics = Statistics()

    def document(self):
        return Monitors().document(self)


class Server(ThreadingHTTPServer):
    """Two models, of which one may not be ready; wants a token where one is set."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.models = {name: Model(name) for name in ("cat", "dog")}
        self.unready = {}
        self.token = ""
        self.redirect = ""
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        index = [
            {"name": name, "version": "1", "state": "UNAVAILABLE" if name in server.unready else "READY",
             "reason": server.unready.get(name, "")}
            for name in server.models
        ]  # fmt: skip
        self.reply(index)

    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.split("/")[3]
        self.reply(self.server.models[name].document())

    def reply(self, value):
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            status, body = 401, b"{}"
        elif self.server.redirect:
            status, body = 302, b""
        else:
            status, body = 200, json.dumps(value).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.redirect)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def fail(model):
    for _ in range(20):
        model.statistics.failed("lost", total_ns=1, now_ms=1)


def test_all_is_well(cli, server):
    code, out, err = cli("monitor", server.url)

    assert (code, err) == (0, "")
    assert "cat" in out
    assert "dog" in out


def test_json_is_one_document(cli, server):
    fail(server.models["dog"])
    code, out, _ = cli("monitor", server.url, "--format", "json")
    said = json.loads(out)

    assert code == 1
    assert said["ok"] is False
    assert [(model["model"], model["ok"]) for model in said["models"]] == [("cat", True), ("dog", False)]
    assert said["models"][1]["errors"]["failures"] == {"lost": 20}


def test_one_model_alone(cli, server):
    fail(server.models["dog"])

    assert cli("monitor", server.url, "--model", "cat")[0] == 0
    assert server.asked == ["/v2/models/cat/monitor"]


def test_a_model_that_is_not_there(cli, server):
    code, _, err = cli("monitor", server.url, "--model", "cow")

    assert code == 2
    assert "cat, dog" in err


def test_a_model_that_does_not_serve_says_why(cli, server):
    server.unready["dog"] = "the golden inputs gave other answers"
    code, out, _ = cli("monitor", server.url)

    assert code == 1
    assert "the golden inputs gave other answers" in out


def test_lines_follow(cli, server):
    code, out, _ = cli("monitor", server.url, "--lines", "--every", "1ms", "--count", 3)
    lines = [json.loads(line) for line in out.splitlines()]

    assert code == 0
    assert [line["model"] for line in lines] == ["cat", "dog"] * 3
    assert {line["schema"] for line in lines} == {1}


def test_what_was_written_is_read_again(cli, server, tmp_path):
    fail(server.models["dog"])
    (tmp_path / "seen.json").write_text(cli("monitor", server.url, "--format", "json")[1])

    assert cli("monitor", "seen.json")[0] == 1
    assert cli("monitor", "seen.json", "--model", "cat")[0] == 0


def test_nobody_answers(cli, server):
    server.server_close()
    code, out, _ = cli("monitor", server.url, "--format", "json")

    assert code == 5
    assert "cannot reach" in json.loads(out)["error"]["message"]


def test_a_token_is_sent(cli, server, tmp_path):
    server.token = TOKEN
    (tmp_path / "tokens").write_text(f"# ours\n\n{TOKEN}\n")
    code, _, err = cli("monitor", server.url)

    assert code == 2
    assert "--token-file" in err
    assert cli("monitor", server.url, "--token-file", "tokens")[0] == 0


def test_a_token_does_not_cross_the_network_in_the_open(cli, tmp_path):
    (tmp_path / "tokens").write_text(TOKEN)
    code, _, err = cli("monitor", "http://192.0.2.1:8000", "--token-file", "tokens")

    assert code == 2
    assert "https" in err


def test_a_redirect_is_not_followed(cli, server):
    server.redirect = "http://127.0.0.1:9/elsewhere"
    code, _, err = cli("monitor", server.url)

    assert code == 5
    assert "302" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.json"], "cannot read nowhere.json"),
        (["ftp://x"], "no address"),
        (["http://127.0.0.1:1", "--count", "2"], "--every"),
        (["http://127.0.0.1:1", "--every", "1s", "--format", "json"], "--lines"),
        (["http://127.0.0.1:1", "--every", "soon"], "no length of time"),
        (["http://127.0.0.1:1", "--token-file", "none"], "cannot read the tokens"),
        (["https://127.0.0.1:1", "--ca-file", "none"], "cannot read the certificates"),
    ],
)
def test_what_makes_no_sense_is_refused(cli, arguments, said):
    code, out, err = cli("monitor", *arguments)

    assert code == 2
    assert said in out + err


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("nowhere.json", "tinsmith monitor URL --format json > FILE"),
        ("ftp://x", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:1", "tinsmith serve"),
    ],
)
def test_the_hint_is_the_next_thing_to_type(cli, source, hint):
    _, _, err = cli("monitor", source)

    assert hint in " ".join(err.split())


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"models": 3}', "no json", '{"model": "x", "ok": true}',
     '{"model": "x", "ok": true, "drift": {}, "latency": {}, "errors": {}}',
     '{"model": "x", "ok": true, "drift": {"state": "ok", "statistics": [1]}, "latency": {}, "errors": {}}'],
)  # fmt: skip
def test_a_file_that_is_something_else_is_refused(cli, tmp_path, content):
    (tmp_path / "x.json").write_text(content)

    assert cli("monitor", "x.json")[0] == 2
