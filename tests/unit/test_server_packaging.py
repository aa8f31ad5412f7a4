"""The unit and the Containerfile start the very server that was described."""

import configparser
import dataclasses
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.server.packaging import containerfile, settings_text, unit
from tinsmith.runtime.server.settings import Capturing, ModelSource, ServerSettings, read_settings

SETTINGS = ServerSettings(
    models=(ModelSource(name="cats", path=Path("models/50%/app.tin")), ModelSource(name="b", path=Path("/m/b.onnx"))),
    port=9000,
    tokens=Path("tokens"),
    audit=Path("log/audit.jsonl"),
    capture=Capturing(folder=Path("kept")),
)


def service(text):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(text)
    return parser["Service"]


def test_the_settings_read_back():
    assert read_settings(settings_text(SETTINGS), of="it") == SETTINGS


def test_the_unit_hands_over_the_settings_with_absolute_paths():
    said = service(unit(SETTINGS))
    settings = read_settings(said["StandardInputText"].replace("%%", "%"), of="it")

    assert [model.path for model in settings.models] == [Path("models/50%/app.tin").absolute(), Path("/m/b.onnx")]
    assert said["ExecStart"].endswith(" -m tinsmith.runtime.server -")
    assert settings.port == 9000


def test_the_unit_hands_secrets_over_as_credentials():
    """A dynamic user can't read a file of mode 600; the specifiers must reach systemd as they are."""
    text = unit(SETTINGS)

    assert f"LoadCredential=tokens:{Path('tokens').absolute()}" in text.splitlines()
    assert '"tokens": "%d/tokens"' in text


def test_the_unit_writes_to_its_own_state_folder_alone():
    text = unit(SETTINGS)

    assert '"audit": "%S/tinsmith/audit.jsonl"' in text
    assert '"folder": "%S/tinsmith/kept"' in text
    assert "ReadWritePaths" not in text
    assert "StateDirectory=tinsmith" in text.splitlines()


@pytest.mark.parametrize(("port", "right"), [(443, "CAP_NET_BIND_SERVICE"), (8080, "")])
def test_the_unit_has_the_right_to_its_port_and_no_other(port, right):
    text = unit(dataclasses.replace(SETTINGS, port=port))

    assert f"CapabilityBoundingSet={right}" in text.splitlines()
    assert ("AmbientCapabilities=CAP_NET_BIND_SERVICE" in text) == bool(right)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    path = tmp_path / "tinsmith.service"
    path.write_text(unit(SETTINGS))

    said = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)

    assert "tinsmith.service:" not in said.stderr, said.stderr


def test_the_containerfile_copies_what_the_settings_inside_name():
    lines = containerfile(SETTINGS).splitlines()
    (copy,) = (json.loads(line.split(maxsplit=2)[2]) for line in lines if line.startswith("COPY "))
    (printed,) = (shlex.split(line) for line in lines if line.startswith("RUN printf"))
    inside = read_settings(printed[3], of="it")

    assert copy == ["app.tin", "b.onnx", "tokens", "/srv/tinsmith/"]
    assert [str(model.path) for model in inside.models] == ["/srv/tinsmith/app.tin", "/srv/tinsmith/b.onnx"]
    assert (inside.host, inside.port) == ("0.0.0.0", 9000)
    assert str(inside.audit) == "/var/lib/tinsmith/audit.jsonl"


def test_a_container_that_anybody_could_use_is_refused():
    with pytest.raises(UsageError, match="keeps strangers out"):
        containerfile(ServerSettings(models=(ModelSource(name="a", path=Path("a.tflite")),)))


def test_the_user_of_a_container_owns_the_tokens_that_only_their_owner_may_read():
    lines = containerfile(SETTINGS).splitlines()
    (user,) = (line.removeprefix("USER ") for line in lines if line.startswith("USER "))

    assert any(line.startswith(f"COPY --chown={user} ") and '"tokens"' in line for line in lines)


def test_two_files_of_one_name_do_not_become_one_in_a_container():
    models = (ModelSource(name="a", path=Path("a/m.tflite")), ModelSource(name="b", path=Path("b/m.tflite")))

    with pytest.raises(UsageError, match=r"a/m\.tflite and b/m\.tflite"):
        containerfile(ServerSettings(models=models, insecure=True))
