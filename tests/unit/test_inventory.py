"""The inventory: what it says, what a name means, and that writing it loses nothing."""

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.devices.inventory import (
    Entry,
    add_device,
    inventory_path,
    profile_name_of,
    profile_of,
    profiles_of,
    read_inventory,
    remove_device,
    resolve_devices,
)
from tinsmith.devices.reaching import address_of, base_of, open_device
from tinsmith.runtime.errors import OutputError, UsageError
from tinsmith.runtime.profile import list_profiles

KEY = "SHA256:" + 43 * "a"
GOOD = f"""\
# mine
[devices.kitchen]   # by the window
profile = "pi4"
address = "ssh://pi@10.0.0.7"
groups = ["canary"]
tags = ["indoors"]
host_key = "{KEY}"
base = "/opt/tinsmith"

[devices.hall]
profile = "raspberry-pi-5"
address = "ssh://pi@10.0.0.8"
tags = ["indoors"]

[devices.phone]
profile = "pixel-4"
address = "adb:0123456789"
groups = ["canary"]
"""


@pytest.fixture
def path():
    path = inventory_path()
    path.write_text(GOOD)
    return path


def entry(name="shed", **facts):
    return Entry(**{"name": name, "profile": "pi4", "address": "ssh://pi@shed", **facts})


def test_every_key_is_read(path):
    kitchen, hall, phone = read_inventory().devices

    assert kitchen.to_json() == {
        "name": "kitchen", "profile": "raspberry-pi-4", "address": "ssh://pi@10.0.0.7", "groups": ["canary"],
        "tags": ["indoors"], "host_key": KEY, "base": "/opt/tinsmith", "trust": [], "runner": "",
    }  # fmt: skip
    assert (hall.groups, hall.host_key, hall.base) == ((), "", "")
    assert phone.profile.kind == "phone"


def test_an_inventory_that_is_not_there_is_empty():
    assert read_inventory().devices == ()


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.delenv("TINSMITH_DEVICES")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert inventory_path() == tmp_path / "xdg/tinsmith/devices.toml"

    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert inventory_path() == tmp_path / ".config/tinsmith/devices.toml"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('profile = "pi4"', 'profil = "pi4"', "lacks devices.kitchen.profile"),
        ('tags = ["indoors"]\nhost_key', 'tag = ["indoors"]\nhost_key', "unknown key: devices.kitchen.tag"),
        ("[devices.kitchen]", "[device.kitchen]", "unknown key: device"),
        ('profile = "pi4"', 'profile = "pi44"', "devices.kitchen: there is no profile 'pi44'"),
        ('"ssh://pi@10.0.0.7"', '"shh://pi@10.0.0.7"', "devices.kitchen: 'shh://pi@10.0.0.7' is no address"),
        ('"ssh://pi@10.0.0.7"', '"10.0.0.7"', "does not begin with the name of a transport"),
        ('"ssh://pi@10.0.0.7"', '"ssh:pi@10.0.0.7"', "it is not ssh://USER@HOST"),
        (KEY, "SHA256:short", "hostkey is no fingerprint"),
        (
            '"adb:0123456789"',
            f'"adb:1"\nhost_key = "{KEY}"',
            "only SSH servers show one",
        ),
        ('groups = ["canary"]\ntags', 'groups = "canary"\ntags', "devices.kitchen.groups = 'canary'"),
        ('tags = ["indoors"]\nhost_key', 'tags = ["hall"]\nhost_key', "a device hall and a group or tag"),
        ("[devices.hall]", "[devices.local]", "'local' is no name"),
        ("[devices.hall]", '[devices."a b"]', "'a b' is no name"),
        ("[devices.hall]", "[devices.hall", "cannot read the inventory"),
    ],
)
def test_a_typo_is_told_with_the_file(path, old, new, said):
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))

    with pytest.raises(UsageError) as caught:
        read_inventory()

    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_names_groups_and_tags_are_resolved_each_device_once(path):
    def names(*words):
        return [device.name for device in resolve_devices(words)]

    assert names("hall") == ["hall"]
    assert names("canary") == ["kitchen", "phone"]
    assert names("indoors", "canary", "kitchen") == ["kitchen", "hall", "phone"]
    assert names("local", "phone") == ["local", "phone"]


def test_what_names_nothing_is_told_what_to_do(path):
    with pytest.raises(UsageError, match="no device, group or tag 'kitchn'") as caught:
        resolve_devices(["kitchn"])
    assert caught.value.hint == "did you mean kitchen?"

    with pytest.raises(UsageError, match="pi5 is a profile, and no device") as caught:
        resolve_devices(["pi5"])
    assert "devices add NAME --profile pi5" in caught.value.hint


def test_a_device_comes_before_the_profile_of_its_name(path):
    path.write_text(GOOD.replace("devices.hall", "devices.pi4"))

    assert profile_of("pi4").name == "raspberry-pi-5"
    assert profile_of("rpi4").name == "raspberry-pi-4"
    assert profile_name_of("kitchen") == "pi4"
    assert profile_name_of("nothing") == "nothing"
    assert [(name, profile.name) for name, profile in profiles_of(["canary", "bbb"])] == [
        ("kitchen", "raspberry-pi-4"), ("phone", "pixel-4"), ("bbb", "beaglebone-black"),
    ]  # fmt: skip


def test_local_is_this_machine_whatever_the_inventory_holds(path):
    path.write_text("broken [")

    assert profile_of("local").kind == "host"


def test_a_profile_of_the_users_is_seen_from_the_inventory(path, tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text(_profile_text())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path.write_text('[devices.a]\nprofile = "mine.toml"\naddress = "local"\n')

    (device,) = read_inventory().devices

    assert device.profile.name == "mine"
    assert profile_of("a").title == "Mine"


def _profile_text():
    return 'title = "Mine"\nkind = "host"\nthreads = 1\ntransports = ["ssh"]\n\n[[engines]]\nname = "litert"\n'


def test_the_host_key_is_pinned_and_the_base_comes_from_either_place(path):
    kitchen, hall, _ = read_inventory().devices
    assert address_of(kitchen.address, host_key=kitchen.host_key).host_key == kitchen.host_key
    assert open_device(kitchen).address
    assert (base_of(kitchen), base_of(hall)) == ("/opt/tinsmith", "")
    assert base_of(replace(hall, address="ssh://pi@hall/srv/x")) == "/srv/x"


def test_a_phone_has_keys_seen_from_the_inventory_and_a_runner(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = Entry(name="mine", profile="pixel-8", address="adb:1", trust=("us.pub",), runner="/data/local/tmp/run")
    added = add_device(entry)
    assert (added.trust, added.runner) == ((str(tmp_path / "us.pub"),), "/data/local/tmp/run")
    path.write_text(path.read_text().replace(str(tmp_path / "us.pub"), "keys/us.pub"))
    assert read_inventory().find("mine").trust == (str(path.parent / "keys" / "us.pub"),)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"address": "ssh://pi", "trust": ("us.pub",)}, "devices.mine: trust is about phones"),
        ({"address": "local", "runner": "/run"}, "devices.mine: runner is about phones"),
        ({"address": "adb:1", "runner": "run"}, "the runner must begin with /"),
    ],
)
def test_what_only_phones_have_is_refused_elsewhere(path, facts, said):
    before = path.read_bytes()
    with pytest.raises(UsageError, match=said):
        add_device(Entry(name="mine", profile="pi4", **facts))
    assert path.read_bytes() == before


def test_adding_keeps_all_that_is_there_and_its_comments(path):
    added = add_device(
        entry(
            groups=("canary",),
            tags=('"quoted" ü', "b"),
            host_key=KEY,
            base="/opt/a b",
        )
    )

    assert path.read_text().startswith(GOOD)
    assert read_inventory().devices[-1] == added
    assert added.tags == ('"quoted" ü', "b")
    assert added.base == "/opt/a b"


def test_nothing_is_added_behind_an_inline_inventory(path):
    text = 'devices = {a = {profile = "pi4", address = "local"}}\n'
    path.write_text(text)

    with pytest.raises(UsageError, match="can't be added or taken out"):
        add_device(entry())

    assert path.read_text() == text


def test_what_is_wrong_is_not_added(path):
    for wrong in (
        entry("kitchen"), entry("a b"), entry("local"), entry(profile="pi44"), entry(address="tcp://x"),
        entry(groups=("hall",)), entry("canary"),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            add_device(wrong)

    assert path.read_text() == GOOD


@pytest.mark.parametrize("name", ["kitchen", "hall", "phone"])
def test_removing_takes_out_one_device_and_no_other(path, name):
    before = read_inventory().devices

    removed = remove_device(name)

    assert removed.name == name
    assert read_inventory().devices == tuple(d for d in before if d.name != name)
    assert "# mine" in path.read_text()


def test_removing_what_is_not_there_says_what_is(path):
    with pytest.raises(UsageError) as caught:
        remove_device("attic")

    assert "kitchen, hall, phone" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        'devices = {a = {profile = "pi4", address = "local"}, b = {profile = "pi4", address = "local"}}\n',
        '[devices]\na.profile = "pi4"\na.address = "local"\n',
        '[devices.a]\nprofile = "pi4"\naddress = "local"\nbase = """\n[devices.b]\nx"""\n',
    ],
)
def test_what_is_written_another_way_is_left_alone(path, text):
    path.write_text(text)

    with pytest.raises(UsageError, match="can't be added or taken out") as caught:
        remove_device("a")
    assert "by hand" in caught.value.hint

    assert path.read_text() == text


def test_the_file_is_replaced_and_never_half_written(path, monkeypatch):
    inode = path.stat().st_ino
    add_device(entry())
    assert path.stat().st_ino != inode

    whole = path.read_text()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OutputError):
        add_device(entry("attic"))
    assert path.read_text() == whole
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_first_device_makes_the_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "devices.toml"

    add_device(entry(), path=path)

    assert [device.name for device in read_inventory(path).devices] == ["shed"]


WORDS = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=3).map(tuple)


@settings(max_examples=30)
@given(st.sampled_from(list_profiles()), WORDS, st.text(st.characters(codec="utf-8"), max_size=12))
def test_any_text_comes_back_or_is_refused(tmp_path_factory, profile, tags, base):
    path = tmp_path_factory.mktemp("inventory") / "devices.toml"
    wanted = Entry(name="a", profile=profile, address="local", tags=tags, base=base)
    try:
        added = add_device(wanted, path=path)
    except UsageError:
        assert not path.exists()
        return

    assert (added.profile.name, added.tags, added.base) == (profile, tags, base)
    assert read_inventory(path).devices == (added,)
