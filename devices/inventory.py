"""The inventory: the user's devices, in one TOML file that people edit too.

It lies at ``$TINSMITH_DEVICES``, or as ``tinsmith/devices.toml`` in the XDG configuration folder::

    [devices.kitchen]
    profile = "pi4"
    address = "ssh://pi@10.0.0.7"
    groups = ["canary"]
    tags = ["indoors"]
    host_key = "SHA256:..."       # or in the address: ?hostkey=SHA256:...
    base = "/opt/tinsmith"

    [devices.phone]
    profile = "pixel-8"
    address = "adb:R3CT30"
    trust = ["keys/us.pub"]                          # whose bundles it takes; other devices keep their own keys
    runner = "/data/local/tmp/benchmark_model"       # what runs a model there

``profile`` and ``address`` must be there. A profile that ends in ``.toml`` is a file, seen from the inventory's folder,
and so are keys.
``--device X`` means the device X of the inventory; else all devices of the group X, or with the tag X; else the profile
X.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.devices.device import Device
from tinsmith.devices.reaching import address_of
from tinsmith.devices.transports.addresses import AdbAddress, parse_address
from tinsmith.runtime.errors import OutputError, UsageError
from tinsmith.runtime.facts import Facts
from tinsmith.runtime.files import write_text
from tinsmith.runtime.profile import find_profile, load_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.runtime.profile import Profile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "Entry",
    "Inventory",
    "add_device",
    "inventory_path",
    "local_device",
    "profile_name_of",
    "profile_of",
    "profiles_of",
    "read_inventory",
    "remove_device",
    "resolve_devices",
]

_LOCAL = "local"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_KEYS = "a device has profile, address, groups, tags, host_key, base, trust and runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a user says of a device.

    Attributes:
        name: Letters, digits, dashes and underscores.
        profile: A built-in profile's name or alias, or the path of a file.
        address: This and what follows as ``Device`` has it.
    """

    name: str
    profile: str
    address: str
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    host_key: str = ""
    base: str = ""
    trust: tuple[str, ...] = ()
    runner: str = ""

    @property
    def text(self) -> str:
        """As it stands in the file; every JSON text and list of texts is one of TOML's."""
        own_file = self.profile.endswith(".toml")
        facts: dict[str, str | tuple[str, ...]] = {
            "profile": str(Path(self.profile).absolute()) if own_file else self.profile,
            "address": self.address,
            "groups": self.groups,
            "tags": self.tags,
            "host_key": self.host_key,
            "base": self.base,
            "trust": tuple(str(Path(key).absolute()) for key in self.trust),
            "runner": self.runner,
        }
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items() if value]
        return "\n".join([f"[devices.{self.name}]", *lines, ""])


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What the file says.

    Attributes:
        path: Where it lies, or would.
        devices: In the order of the file.
    """

    path: Path
    devices: tuple[Device, ...]

    def find(self, name: str) -> Device | None:
        """The device of that name."""
        return next((device for device in self.devices if device.name == name), None)

    def named(self, word: str) -> tuple[Device, ...]:
        """The device of that name, else all of that group or with that tag."""
        if found := self.find(word):
            return (found,)
        return tuple(device for device in self.devices if word in (*device.groups, *device.tags))


def inventory_path() -> Path:
    """Where the inventory lies."""
    if told := os.environ.get("TINSMITH_DEVICES"):
        return Path(told)
    config = os.environ.get("XDG_CONFIG_HOME", "")
    # the XDG specification: a relative path there counts as none
    folder = Path(config) if config.startswith("/") else Path.home() / ".config"
    return folder / "tinsmith" / "devices.toml"


def read_inventory(path: Path | None = None) -> Inventory:
    """Read the inventory; one that is not there holds no devices.

    Raises:
        UsageError: It can't be read, holds a key or a profile that nobody knows, or an address that is none.
    """
    path = path or inventory_path()
    return _inventory(path, _text(path))


def resolve_devices(words: Sequence[str], *, inventory: Inventory | None = None) -> tuple[Device, ...]:
    """The devices that names, groups and tags stand for, each once, in the order in which they were named.

    Raises:
        UsageError: One of them names nothing that can be reached.
    """
    inventory = inventory or read_inventory()
    found: dict[str, Device] = {}
    for word in words:
        for device in _named(word, inventory):
            found.setdefault(device.name, device)
    return tuple(found.values())


def local_device() -> Device:
    """This machine."""
    return Device(name=_LOCAL, profile=load_profile(_LOCAL), profile_name=_LOCAL, address=_LOCAL)


def profile_of(name: str, *, inventory: Inventory | None = None) -> Profile:
    """The profile of a device of the inventory, or the profile of that name.

    Raises:
        UsageError: There is neither.
    """
    return load_profile(profile_name_of(name, inventory=inventory))


def profiles_of(words: Sequence[str]) -> tuple[tuple[str, Profile], ...]:
    """Names and profiles of what names, groups and tags stand for; of profiles, where no device has the name.

    Raises:
        UsageError: One of them names nothing.
    """
    inventory = read_inventory()
    found: dict[str, Profile] = {}
    for word in words:
        there = {device.name: device.profile for device in inventory.named(word)}
        found |= there or {word: load_profile(word)}
    return tuple(found.items())


def profile_name_of(name: str, *, inventory: Inventory | None = None) -> str:
    """What ``load_profile`` takes for the name of a device, or of a profile; a name of neither comes back as it is."""
    if name == _LOCAL:
        return name
    device = (inventory or read_inventory()).find(name)
    return name if device is None else device.profile_name


def add_device(entry: Entry, *, path: Path | None = None) -> Device:
    """Write a device into the inventory, which is whole before and afterwards; what else stands in it stays as it is.

    Args:
        entry: The device.
        path: The inventory; the user's unless given.

    Raises:
        UsageError: There is such a device already, or something about it is wrong.
        OutputError: The inventory can't be written.
    """
    before = read_inventory(path)
    _check_name(entry.name, before.path)
    if there := before.find(entry.name):
        hint = f"remove it first: tinsmith devices remove {entry.name}"
        raise UsageError(f"{before.path} has a device {entry.name} already, at {there.address}", hint=hint)
    old = _text(before.path).rstrip()
    text = f"{old}\n\n{entry.text}" if old else entry.text
    try:
        tomllib.loads(text)
    except ValueError:
        raise _by_hand(before.path, entry.name) from None
    added = _inventory(before.path, text).devices[-1]
    _write(before.path, text)
    return added


def remove_device(name: str, *, path: Path | None = None) -> Device:
    """Take a device out of the inventory; what else stands in it stays as it is.

    Raises:
        UsageError: There is no such device, or the file is written so that it must be taken out by hand.
        OutputError: The inventory can't be written.
    """
    before = read_inventory(path)
    device = before.find(name)
    if device is None:
        known = ", ".join(d.name for d in before.devices) or "none"
        raise UsageError(f"{before.path} has no device {name!r}", hint=f"devices there: {known}")
    text = _without(name, _text(before.path))
    try:
        left = _inventory(before.path, text).devices
    except UsageError:
        raise _by_hand(before.path, name) from None
    if left != tuple(d for d in before.devices if d != device):
        raise _by_hand(before.path, name)
    _write(before.path, text)
    return device


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the inventory {path}: {error}", hint="mend it, or move it away") from error


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.from_os_error(path, error) from error
    write_text(path, text)


def _without(name: str, text: str) -> str:
    """The text without the table of a device, up to the next table."""
    header = re.compile(rf"""\s*\[\s*devices\s*\.\s*["']?{re.escape(name)}["']?\s*\]""")
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            inside = header.match(line) is not None
        if not inside:
            kept.append(line)
    return "".join(kept)


def _by_hand(path: Path, name: str) -> UsageError:
    return UsageError(
        f"{path} is written so that {name} can't be added or taken out without touching the rest",
        hint=f"edit {path} by hand; a device is a table [devices.NAME]",
    )


def _inventory(path: Path, text: str) -> Inventory:
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        hint = "mend it; a device is a table [devices.NAME]"
        raise UsageError(f"cannot read the inventory {path}: {error}", hint=hint) from error
    facts = Facts(document, of=f"the inventory {path}", hint=_KEYS)
    tables = facts.tables_by_name("devices")
    facts.end()
    inventory = Inventory(path=path, devices=tuple(_device(name, table, path) for name, table in tables.items()))
    _check_words(inventory, facts)
    return inventory


def _device(name: str, facts: Facts, path: Path) -> Device:
    _check_name(name, path)
    given, address, host_key = facts.text("profile"), facts.text("address"), facts.text("host_key", default="")
    profile_name = str(path.parent / given) if given.endswith(".toml") else given
    try:
        profile = load_profile(profile_name)
        address_of(address, host_key=host_key)
    except UsageError as error:
        raise facts.wrong(f"is wrong about devices.{name}: {error.message}", hint=error.hint) from error
    device = Device(
        name=name,
        profile=profile,
        profile_name=profile_name,
        address=address,
        groups=facts.names("groups", default=()),
        tags=facts.names("tags", default=()),
        host_key=host_key,
        base=facts.text("base", default=""),
        trust=tuple(str(path.parent / key) for key in facts.names("trust", default=())),
        runner=facts.text("runner", default=""),
    )
    facts.end()
    _check_phone(device, facts)
    return device


def _check_phone(device: Device, facts: Facts) -> None:
    """What only phones have."""
    told = [key for key, value in (("trust", device.trust), ("runner", device.runner)) if value]
    if told and not isinstance(parse_address(device.address), AdbAddress):
        hint = f"a board keeps its own: tinsmith devices setup -d {device.name} --trust KEY.pub"
        raise facts.wrong(f"is wrong about devices.{device.name}: {told[0]} is about phones, adb:SERIAL", hint=hint)
    if device.runner and not device.runner.startswith("/"):
        hint = "write where it lies on the phone, such as /data/local/tmp/benchmark_model"
        raise facts.wrong(f"is wrong about devices.{device.name}: the runner must begin with /", hint=hint)


def _check_name(name: str, path: Path) -> None:
    if not _NAME.fullmatch(name) or name == _LOCAL:
        raise UsageError(
            f"{name!r} is no name for a device of {path}",
            hint="a name has up to 63 letters, digits, dashes and underscores; local is this machine",
        )


def _check_words(inventory: Inventory, facts: Facts) -> None:
    """No word means a device and a group of devices."""
    names = {device.name for device in inventory.devices}
    for device in inventory.devices:
        for word in (*device.groups, *device.tags):
            if word in names or word == _LOCAL:
                hint = "give one of them another name"
                raise facts.wrong(f"has a device {word} and a group or tag of that name at {device.name}", hint=hint)


def _named(word: str, inventory: Inventory) -> tuple[Device, ...]:
    if found := inventory.named(word):
        return found
    if word == _LOCAL:
        return (local_device(),)
    if word.endswith(".toml") or find_profile(word):
        raise UsageError(
            f"{word} is a profile, and no device that can be reached",
            hint=f"say where one is: tinsmith devices add NAME --profile {word} --address ssh://USER@HOST",
        )
    words = [w for device in inventory.devices for w in (device.name, *device.groups, *device.tags)]
    near = get_close_matches(word, words, n=1)
    hint = f"did you mean {near[0]}?" if near else "`tinsmith devices list` lists them, `devices add` adds one"
    raise UsageError(f"there is no device, group or tag {word!r} in {inventory.path}", hint=hint)
