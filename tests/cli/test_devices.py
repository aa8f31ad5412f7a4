"""``tinsmith devices``, and names of devices where profiles are meant."""

import importlib
import json
import re
import subprocess
import sys

import pytest

from tinsmith.__main__ import COMMANDS
from tinsmith.devices.inventory import inventory_path
from tinsmith.runtime.artifact import Artifact, Lineage, OperatorUse, manifest_path, manifest_text
from tinsmith.runtime.commands.options import DEVICE_NAME
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.profile import list_profiles


@pytest.fixture
def kitchen(cli):
    """A device in the inventory."""
    code, _, err = cli("devices", "add", "kitchen", "--profile", "pi4", "--address", "ssh://pi@10.0.0.7",
                       "--group", "canary", "--tag", "indoors")  # fmt: skip
    assert (code, err) == (0, "")


@pytest.fixture
def dynamic(tmp_path):
    """An artifact that needs operators of TensorFlow 2.17."""
    path = tmp_path / "small.tflite"
    path.write_bytes(b"TFL3")
    use = OperatorUse(name="FULLY_CONNECTED", version=12, count=1, precision="dynamic-int8")
    lineage = Lineage(source="m", source_format="keras", source_sha256="0" * 64, steps=())
    artifact = Artifact(
        path=path, format="tflite", sha256=sha256_of(path), size_bytes=4, inputs=(), outputs=(), operators=(use,),
        lineage=lineage, activation_bytes=100,
    )  # fmt: skip
    manifest_path(path).write_text(manifest_text(artifact))
    return path


def test_the_list_holds_devices_and_profiles_and_fits_100_columns(cli, kitchen):
    code, out, _ = cli("devices", "list")
    assert code == 0
    assert all(name in out for name in (*list_profiles(), "kitchen", "ssh://pi@10.0.0.7", "canary, indoors"))
    assert max(map(len, out.splitlines())) <= 100

    document = json.loads(cli("devices", "list", "--format", "json")[1])
    assert [device["name"] for device in document["devices"]] == ["kitchen"]
    assert {profile["name"] for profile in document["profiles"]} == set(list_profiles())


def test_without_devices_the_list_says_how_to_get_one(cli):
    assert "tinsmith devices add" in " ".join(cli("devices", "list")[1].split())


@pytest.mark.parametrize("name", list_profiles())
def test_every_profile_is_shown_within_100_columns_and_as_json(cli, name):
    code, out, _ = cli("devices", "show", name)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100

    profile = json.loads(cli("devices", "show", name, "--format", "json")[1])["profile"]
    assert ("published elsewhere" in out) is bool(profile["references"])
    assert {reference["source"]["trust"] for reference in profile["references"]} <= {"published"}


def test_a_device_is_shown_with_its_profile(cli, kitchen):
    code, out, _ = cli("devices", "show", "kitchen")

    assert code == 0
    assert "ssh://pi@10.0.0.7" in out
    assert "Raspberry Pi 4" in out


def test_a_device_goes_as_it_came(cli, kitchen):
    assert cli("devices", "remove", "kitchen")[0] == 0
    assert cli("devices", "show", "kitchen")[0] == 2
    assert inventory_path().read_text().strip() == ""


def test_check_says_by_exit_code_whether_it_fits_every_device(cli, kitchen, dynamic):
    code, out, _ = cli("devices", "check", dynamic, "-d", "canary")
    assert code == 0
    assert "small.tflite fits kitchen (raspberry-pi-4)" in out
    assert "(estimated)" in out
    assert max(map(len, out.splitlines())) <= 100

    code, out, _ = cli("devices", "check", dynamic, "-d", "canary", "-d", "bbb", "--format", "json")
    document = json.loads(out)
    assert code == 4
    assert [(device["device"], device["fits"]) for device in document["devices"]] == [("kitchen", True), ("bbb", False)]


def test_a_bundle_is_checked_by_what_its_maker_found_out(cli, kitchen, golden):
    assert cli("bundle", golden / "cnn_int8.tflite", "-o", "app.tin", "-d", "kitchen")[0] == 0

    code, out, _ = cli("devices", "check", "app.tin", "-d", "kitchen", "-d", "pi5", "--format", "json")

    assert code == 0
    kitchen_, pi5 = ({f["what"]: f for f in device["findings"]} for device in json.loads(out)["devices"])
    assert re.search(r"activations [1-9][\d,]* \(estimated\)", kitchen_["RAM"]["said"])
    assert kitchen_["dtypes"]["said"].startswith("int8")
    assert "made for" not in kitchen_
    assert "made for raspberry-pi-4" in pi5["made for"]["said"]


def test_what_can_t_be_checked_is_an_error(cli, kitchen, tmp_path, dynamic):
    assert cli("devices", "check", tmp_path / "none.tflite", "-d", "kitchen")[0] == 2
    assert cli("devices", "check", dynamic, "-d", "attic")[0] == 2
    assert cli("devices", "check", dynamic)[0] == 2


def test_a_device_stands_for_its_profile_wherever_one_is_meant(cli, kitchen, golden):
    code, out, _ = cli("inspect", golden / "cnn_int8.tflite", "-d", "kitchen", "--format", "json")
    assert code == 0
    assert json.loads(out)["devices"][0]["device"] == "raspberry-pi-4"

    code, _, err = cli("inspect", golden / "cnn_int8.tflite", "-d", "kitchn")
    assert code == 2
    assert "there is no profile 'kitchn'" in err


@pytest.mark.parametrize("name", ["compress", "convert", "inspect", "bundle"])
def test_every_command_that_means_a_profile_takes_a_device(name):
    module, attribute = COMMANDS[name][0].split(":")
    command = getattr(importlib.import_module(module), attribute)

    assert {p.type for p in command.params if "-d" in p.opts} == {DEVICE_NAME}


def test_a_typo_in_the_inventory_is_told_by_every_command_that_reads_it(cli, kitchen, golden):
    path = inventory_path()
    path.write_text(path.read_text().replace("profile", "profil"))

    for command in (["devices", "list"], ["inspect", golden / "cnn_int8.tflite", "-d", "kitchen"]):
        code, _, err = cli(*command)
        assert code == 2
        assert str(path) in err
        assert "devices.kitchen.profil" in err


def test_this_machine_is_probed_and_a_wrong_profile_is_shown(cli):
    code, out, _ = cli("devices", "probe", "-d", "local")
    assert code == 0
    assert "agrees with local" in out

    cli("devices", "add", "bench", "--profile", "bbb", "--address", "local", "--group", "all")
    code, out, _ = cli("devices", "probe", "-d", "all")
    assert code == 0
    assert "architecture" in out
    assert "armv7l" in out
    assert max(map(len, out.splitlines())) <= 100

    (look,) = json.loads(cli("devices", "probe", "-d", "bench", "--format", "json")[1])["devices"]
    assert look["probed"]["ram_bytes"] > 0
    assert "architecture" in {found["what"] for found in look["disagreements"]}


def test_a_device_that_can_t_be_asked_keeps_no_other_from_it(cli, tmp_path):
    cli("devices", "add", "gone", "--profile", "pi4", "--address", f"local:{tmp_path}/gone")

    code, out, err = cli("devices", "probe", "-d", "gone")
    assert (code, out) == (5, "")
    assert "gone" in err

    code, out, _ = cli("devices", "probe", "-d", "gone", "-d", "local", "--format", "json")
    gone, local = json.loads(out)["devices"]
    assert code == 5
    assert gone["error"]["code"]
    assert local["probed"]["machine"]


def test_a_profile_alone_can_t_be_probed(cli):
    code, _, err = cli("devices", "probe", "-d", "pi4")

    assert code == 2
    assert "devices add NAME --profile pi4" in err


def test_devices_load_neither_numpy_nor_an_engine():
    script = (
        "import sys; from tinsmith.__main__ import run; assert run(['devices', 'list']) == 0; "
        "loaded = {'numpy', 'onnx', 'tensorflow', 'ai_edge_litert'} & set(sys.modules); assert not loaded, loaded"
    )

    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_phone_is_added_with_its_keys_and_what_runs_models_there(cli, tmp_path):
    from tinsmith.runtime.bundle.secret_key import new_secret_key

    key = tmp_path / "team.pub"
    facts = ("--profile", "pixel8", "--address", "adb:1", "--runner", "/data/local/tmp/run", "--trust", str(key))
    code, _, err = cli("devices", "add", "phone", *facts)
    assert (code, "team.pub" in err) == (2, True)
    key.write_text(new_secret_key().public.to_text())
    code, out, _ = cli("devices", "add", "phone", *facts, "--format", "json")

    device = json.loads(out)["device"]
    assert (code, device["trust"], device["runner"]) == (0, [str(key)], "/data/local/tmp/run")
    assert "/data/local/tmp/run" in cli("devices", "show", "phone")[1]
