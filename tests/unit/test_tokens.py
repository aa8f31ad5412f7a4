"""Who has a token, and who has not."""

import pytest

from tinsmith.runtime.errors import HostError
from tinsmith.runtime.server.messages import Head, Request, Response
from tinsmith.runtime.server.tokens import Guarded, Tokens

ONE, TWO = "a" * 32, "b" * 16


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# whose\n{ONE}\n\n  {TWO}  \r\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("authorization", "admitted"),
    [
        (f"Bearer {ONE}", True),
        (f"bearer  {TWO}", True),
        (f"Bearer {ONE[:-1]}", False),
        (f"Bearer {ONE}a", False),
        (f"Basic {ONE}", False),
        ("Bearer # whose", False),
        ("Bearer ", False),
        ("Bearer é\ud800", False),
        (ONE, False),
        ("", False),
    ],
)
def test_admits_those_with_a_token_alone(file, authorization, admitted):
    assert Tokens(file).admit(authorization) is admitted


def test_a_change_of_the_file_counts_at_once(file):
    tokens = Tokens(file)
    file.write_text("c" * 20)

    assert not tokens.admit(f"Bearer {ONE}")
    assert tokens.admit("Bearer " + "c" * 20)


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_text(""), lambda p: p.chmod(0o666)])
def test_a_change_that_can_t_be_read_leaves_what_was(file, spoil):
    tokens = Tokens(file)
    file.write_text(f"{ONE}\n{'d' * 99}")
    spoil(file)

    assert tokens.admit(f"Bearer {ONE}")


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666])
def test_a_file_that_strangers_may_read_is_refused(file, mode):
    file.chmod(mode)

    with pytest.raises(HostError, match="may read or write") as caught:
        Tokens(file)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("content", ["", "\n# nothing\n", "short"])
def test_a_file_without_a_good_token_is_refused(file, content):
    file.write_text(content)

    with pytest.raises(HostError, match="holds") as caught:
        Tokens(file)
    assert "openssl rand" in caught.value.hint


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(HostError, match="cannot read"):
        Tokens(tmp_path / "none")


class Open:
    def refuse(self, head):
        return Response(status=404) if head.path == "/none" else None

    def answer(self, request):
        return Response(status=200, body=request.body)


def test_a_guarded_handler_answers_those_with_a_token_and_health_checks(file):
    guarded = Guarded(Open(), Tokens(file))
    known = {"authorization": f"Bearer {ONE}"}

    refusal = guarded.refuse(Head(method="GET", path="/v2"))
    assert refusal.status == 401
    assert ("WWW-Authenticate", 'Bearer realm="tinsmith"') in refusal.headers
    assert guarded.refuse(Head(method="GET", path="/none")).status == 401
    assert guarded.refuse(Head(method="GET", path="/none", headers=known)).status == 404
    assert guarded.refuse(Head(method="GET", path="/v2", headers=known)) is None
    assert guarded.refuse(Head(method="GET", path="/v2/health/live")) is None
    request = Request(head=Head(method="GET", path="/v2", headers=known), body=b"x", deadline_s=0.0)
    assert guarded.answer(request).body == b"x"
