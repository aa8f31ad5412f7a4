"""Addresses of devices: what a person writes is read as it is meant, or refused with what is wrong."""

import importlib.metadata
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.devices.transports import addresses
from tinsmith.devices.transports.addresses import (
    AdbAddress,
    Host,
    LocalAddress,
    OtherAddress,
    SshAddress,
    open_transport,
    parse_address,
)
from tinsmith.devices.transports.fake import FakeTransport
from tinsmith.runtime.errors import MissingDependencyError, UsageError

PIN = "SHA256:" + "a+/B" * 10 + "abc"
GATE = Host(user="user", host="gate")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("local", LocalAddress()),
        ("local:/", LocalAddress()),
        ("local:/srv/a b", LocalAddress(base=PurePosixPath("/srv/a b"))),
        ("ssh://board", SshAddress(at=Host(host="board"))),
        ("ssh://Board/", SshAddress(at=Host(host="board"))),
        ("ssh://pi@10.0.0.7:2222", SshAddress(at=Host(user="pi", host="10.0.0.7", port=2222))),
        ("ssh://pi@board/opt/x", SshAddress(at=Host(user="pi", host="board"), base=PurePosixPath("/opt/x"))),
        ("ssh://pi@board/~/a%20b", SshAddress(at=Host(user="pi", host="board"), base=PurePosixPath("a b"))),
        ("ssh://a%40b@board", SshAddress(at=Host(user="a@b", host="board"))),
        ("ssh://[::1]", SshAddress(at=Host(host="::1"))),
        ("ssh://pi@[fe80::1%25Eth0]:22/x", SshAddress(
            at=Host(user="pi", host="fe80::1%Eth0", port=22), base=PurePosixPath("/x"))),
        ("ssh://board?jump=user@gate", SshAddress(at=Host(host="board"), jumps=(GATE,))),
        ("ssh://board?jump=user@gate,[::1]:2200", SshAddress(
            at=Host(host="board"), jumps=(GATE, Host(host="::1", port=2200)))),
        (f"ssh://board?key=/k/id&hostkey={PIN}", SshAddress(at=Host(host="board"), key=Path("/k/id"), host_key=PIN)),
        ("adb:", AdbAddress()),
        ("adb:R58M12", AdbAddress(serial="R58M12")),
        ("adb:10.0.0.9:5555", AdbAddress(serial="10.0.0.9:5555")),
        ("adb:R58M12/data/local/tmp", AdbAddress(serial="R58M12", base=PurePosixPath("/data/local/tmp"))),
        ("serial:///dev/ttyUSB0", OtherAddress(scheme="serial", text="serial:///dev/ttyUSB0")),
    ],
)  # fmt: skip
def test_an_address_is_read_as_it_is_meant(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin"),
        ("board", "does not begin"),
        ("pi@board", "does not begin"),
        ("Ssh://board", "does not begin"),
        ("adb", "does not begin"),
        ("local:srv", "must begin with /"),
        ("ssh:board", "not ssh://"),
        ("ssh://", "names no host"),
        ("ssh://@board", "names no host"),
        ("ssh://pi@", "names no host"),
        ("ssh://-oProxyCommand=x", "names no host"),
        ("ssh://-l@board", "names no host"),
        ("ssh://a b", "names no host"),
        ("ssh://pi:secret@board", "password"),
        ("ssh://board:", "no port"),
        ("ssh://board:x", "no port"),
        ("ssh://board:0", "no port"),
        ("ssh://board:65536", "no port"),
        ("ssh://board:\uff12\uff12", "no port"),
        ("ssh://::1", "brackets"),
        ("ssh://[::1", "Invalid IPv6"),
        ("ssh://board#x", "not ssh://"),
        ("ssh://board?jump=", "none of jump"),
        ("ssh://board?jump=a,", "names no host"),
        ("ssh://board?jumps=a", "none of jump"),
        ("ssh://board?key=/a&key=/b", "none of jump"),
        ("ssh://board?hostkey=MD5:00", "no fingerprint"),
        ("ssh://board\n", "does not begin"),
        ("adb:-H", "no serial"),
        ("adb:a b", "no serial"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text, reason):
    with pytest.raises(UsageError, match="is no address of a device") as caught:
        parse_address(text)

    assert reason in caught.value.message
    assert "ssh://USER@HOST" in caught.value.hint


HOSTS = st.builds(
    Host,
    user=st.none() | st.text("abc@:/ é%+", min_size=1, max_size=5),
    host=st.sampled_from(["board", "10.0.0.7", "::1", "fe80::1%eth0", "a-b.example"]),
    port=st.none() | st.integers(1, 65535),
)
# jump hosts are taken apart at commas, and a query at signs that a user's name may hold only quoted
PLAIN = st.text("ab c+é%&?#", min_size=1, max_size=6)
ADDRESSES = st.builds(
    SshAddress,
    at=HOSTS,
    base=st.none() | PLAIN.map(lambda name: PurePosixPath("/") / name) | PLAIN.map(PurePosixPath),
    jumps=st.lists(HOSTS, max_size=2).map(tuple),
    key=st.none() | PLAIN.map(lambda name: Path("/keys") / name),
    host_key=st.none() | st.just(PIN),
)


@given(ADDRESSES)
def test_what_is_written_is_read_again(address):
    assert parse_address(str(address)) == address


@given(st.text(max_size=30).map(lambda rest: f"ssh://{rest}") | st.text(max_size=30))
def test_any_text_is_an_address_or_a_usage_error(text):
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert parse_address(str(address)) == address


class TestOpening:
    def test_each_address_opens_its_transport(self, tmp_path):
        for text in ("local", f"local:{tmp_path}", "adb:R58M12", "ssh://pi@board"):
            transport = open_transport(text)
            assert transport.address == text
            transport.close()

    def test_one_of_somebody_else_is_found_by_its_entry_point(self, monkeypatch):
        # it is called with the whole address
        monkeypatch.setattr(addresses, "_MINE", lambda text: FakeTransport(address=text), raising=False)
        entry = importlib.metadata.EntryPoint("mine", f"{addresses.__name__}:_MINE", "tinsmith.transports")
        monkeypatch.setattr(addresses, "entry_points", lambda group: importlib.metadata.EntryPoints([entry]))

        assert open_transport("mine:board").address == "mine:board"
        with pytest.raises(UsageError, match="no transport other; there are adb, local, mine, ssh"):
            open_transport("other:board")

    def test_ssh_without_its_package_says_what_to_install(self, monkeypatch):
        for name in [name for name in sys.modules if name.startswith("tinsmith.devices.transports.ssh")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delitem(sys.modules, "tinsmith.devices.transports.host_keys", raising=False)
        monkeypatch.setitem(sys.modules, "asyncssh", None)
        with pytest.raises(MissingDependencyError, match="asyncssh") as caught:
            open_transport("ssh://board")

        assert "tinsmith[devices]" in caught.value.hint
