"""What keeps a server running on a board: units that systemd takes, and the server's settings."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tinsmith.devices.setup.serving import SERVER_UNIT, settings_of, units_of
from tinsmith.devices.setup.tags import Interpreter
from tinsmith.devices.setup.there import There
from tinsmith.runtime.agent.state import Installed, State, Trial, state_bytes
from tinsmith.runtime.errors import UsageError

THERE = There(
    base="/root/tin smith", python="/usr/bin/python3", prefix="/usr",
    interpreter=Interpreter(version=(3, 11), machine="aarch64", glibc=(2, 36)), packages={}, free_bytes=10**9,
    wheels=frozenset(), parts={}, settings="", keys=(), decryption_key=False, systemd=True, user="root",
    home="/root", lingers=False,
)  # fmt: skip
PI = replace(THERE, user="pi", home="/home/pi", base="/home/pi/50% more")


@pytest.mark.parametrize("there", [THERE, PI, replace(THERE, decryption_key=True, prefix="/root/.pyenv/3.11")])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path, there):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    base = tmp_path / Path(there.base).name
    (base / "venv" / "bin").mkdir(parents=True)
    (base / "venv" / "bin" / "python").symlink_to(sys.executable)
    paths = []
    for unit in units_of(replace(there, base=str(base))):
        paths.append(tmp_path / Path(unit.path).name)
        paths[-1].write_text(unit.text)

    ran = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    about_ours = [line for line in ran.stderr.splitlines() if "tinsmith" in line]
    assert about_ours == []


def unit_of(there):
    return next(unit.text for unit in units_of(there) if unit.path.endswith(f"/{SERVER_UNIT}"))


def test_the_agent_is_asked_before_anything_is_served_with_roots_rights():
    lines = unit_of(THERE).splitlines()
    before = next(i for i, line in enumerate(lines) if line.startswith("ExecStartPre=-+"))

    assert before < next(i for i, line in enumerate(lines) if line.startswith("ExecStart="))
    assert 'StandardInputText={"schema": 1, "request": "boot"}' in lines
    assert "DynamicUser=yes" in lines
    # systemd 252 binds paths for a command with full privileges too: bound read-only, the agent could not write
    assert {'BindPaths="/root/tin smith"', 'ReadOnlyPaths="/root/tin smith"'} < set(lines)


def test_a_user_has_no_rights_to_give_up():
    text = unit_of(PI)
    assert 'ExecStartPre=-"' in text
    assert not [line for line in text.splitlines() if line.startswith(("DynamicUser", "Protect", "Bind"))]
    assert '"/home/pi/50%% more/venv/bin/python"' in text


def test_a_key_of_roots_is_handed_over_to_the_servers_user():
    there = replace(THERE, decryption_key=True)
    assert "LoadCredential=decryption.key:/root/tin smith/decryption.key" in unit_of(there)
    settings = json.loads(settings_of(there, (), by_systemd=True).text)
    assert settings["decryption_key"] == "/run/credentials/tinsmith.service/decryption.key"

    by_hand = json.loads(settings_of(there, (), by_systemd=False).text)
    assert by_hand["decryption_key"] == "/root/tin smith/decryption.key"


@pytest.mark.parametrize("name", ["a\nExecStart=/bin/evil", 'a"b', "a'b", "a\\b", "a$b"])
def test_a_name_that_no_unit_can_hold_is_a_mistake(name):
    with pytest.raises(UsageError, match="can't stand in a unit"):
        units_of(replace(THERE, base=f"/tmp/{name}"))


@pytest.mark.parametrize("on_trial", [True, False])
def test_the_look_at_the_state_sees_a_trial(tmp_path, on_trial):
    installed = Installed(slot="a", sha256="0" * 64, name="m", version=1, size_bytes=1, signed_by="", artifact="",
                          files={})  # fmt: skip
    trial = Trial(slot="a", until_wall_s=1.0, until_uptime_s=1.0, boot_id="x") if on_trial else None
    (tmp_path / "state.json").write_bytes(state_bytes(State(trial=trial, slots={"a": installed})))
    unit = next(unit.text for unit in units_of(replace(THERE, base=str(tmp_path))) if "settle.service" in unit.path)
    line = next(line for line in unit.splitlines() if line.startswith("ExecCondition="))

    # the shell reads double quotes as systemd does, but for doubled dollars and percents, which there are none of
    ran = subprocess.run(["sh", "-c", line.removeprefix("ExecCondition=")], check=False)
    assert ran.returncode == (0 if on_trial else 1)
