"""Who has a token, and who has not."""

import pytest

from tinsmith.runtime.errors import HostError
from tinsmith.runtime.server.tokens import Tokens

ONE, TWO = "a" * 32, "b" * 16


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# whose\n{ONE}\n\n  {TWO}  \r\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("offered", "admitted"),
    [
        (ONE, True),
        (TWO, True),
        (ONE[:-1], False),
        (ONE + "a", False),
        (f"{ONE}\n{TWO}", False),
        ("# whose", False),
        ("é\ud800", False),
        ("", False),
    ],
)
def test_admits_the_tokens_of_the_file_alone(file, offered, admitted):
    assert Tokens(file).admit(offered) is admitted


def test_a_change_of_the_file_counts_at_once(file):
    tokens = Tokens(file)
    file.write_text("c" * 20)

    assert not tokens.admit(ONE)
    assert tokens.admit("c" * 20)


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_text(""), lambda p: p.chmod(0o666)])
def test_a_change_that_can_t_be_read_leaves_what_was(file, spoil):
    tokens = Tokens(file)
    file.write_text(f"{ONE}\n{'d' * 99}")
    spoil(file)

    assert tokens.admit(ONE)


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
