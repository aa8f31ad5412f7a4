"""The command line, run in this process."""

import pytest

from tinsmith.__main__ import run


@pytest.fixture
def cli(capsys):
    """Run one command line; gives its exit code, stdout and stderr."""

    def call(*arguments):
        code = run([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """No test adds to the history of whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
