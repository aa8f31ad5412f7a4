"""What people read of a flash, a status and a setup: nothing is said to serve that no server answers with."""

from dataclasses import asdict, replace

import pytest

from tinsmith.devices.commands.flash_view import flash_view
from tinsmith.devices.commands.setup_view import setup_view
from tinsmith.devices.commands.status_view import rollback_view, status_view
from tinsmith.devices.device import Device
from tinsmith.devices.flashing.deploying import Standing, WentBack
from tinsmith.devices.flashing.deployment import Deployment, Sent
from tinsmith.devices.setup.report import Outcome, SetUp
from tinsmith.runtime.agent.answers import (
    NOT_RUNNING,
    Bundled,
    DeviceFacts,
    DeviceStatus,
    InstalledBundle,
    RolledBack,
    answer_json,
)
from tinsmith.runtime.commands.output import print_result
from tinsmith.runtime.fields import Fields
from tinsmith.runtime.profile import load_profile

KITCHEN = Device(
    name="kitchen", profile=load_profile("local"), profile_name="local", address="ssh://root@10.0.0.7:2222"
)
ACTIVE = Bundled(
    slot="a", sha256="ab" * 32, name="cats", version=2, size_bytes=10, signed_by="", artifact="x.tflite"
)  # fmt: skip
DONE = Deployment(
    device="kitchen", address=KITCHEN.address, active=ACTIVE, before=None, changed=True,
    sent=Sent(form="whole", size_bytes=10),
)  # fmt: skip
STATUS = DeviceStatus(
    active=ACTIVE, previous=None, on_trial=False, trial_until_s=None, highest={"cats": 2}, audit_head="cd" * 32
)  # fmt: skip
FACTS = DeviceFacts(
    agent="1", python="3.11", engines={"litert": "2"}, arch="aarch64", cpu="", cpu_features=(), cores=4, ram_bytes=0,
    disk_free_bytes=0, machine_id="", keys=(), status=STATUS,
)  # fmt: skip
ANSWERS = "the server on 127.0.0.1:8080 answers with it"
LINE = "ssh -t -p 2222 root@10.0.0.7 /root/tinsmith/serve"


@pytest.fixture
def read(capsys):
    """The facts of a view, its first block: view -> {name: value}; a line without a name goes on with the one above."""

    def rows(view):
        print_result("table", {}, view)
        found, name = {}, ""
        for line in capsys.readouterr().out.partition("\n\n")[0].splitlines():
            if not line.strip():
                break
            if line[0] == " ":
                found[name] += f" | {line.strip()}"
            else:
                name, _, value = line.partition("  ")
                found[name] = value.strip()
        return found

    return rows


@pytest.mark.parametrize(
    ("served", "start", "word", "server"),
    [
        (ANSWERS, "", "serves", ANSWERS),
        (NOT_RUNNING, "/root/tinsmith/serve", "holds", f"no server is running; this starts it: | {LINE}"),
        (NOT_RUNNING, "", "holds", "no server is running"),
        ("", "", "holds", None),
    ],
)
def test_a_bundle_is_held_until_a_server_answers_with_it(read, served, start, word, server):
    flashed = read(flash_view(KITCHEN, replace(DONE, served=served, start=start)))
    health = InstalledBundle(bundle=ACTIVE, engine="litert", served=served, start=start)
    stood = read(status_view([Standing(device=KITCHEN, status=STATUS, health=health)]))

    for rows in (flashed, stood):
        assert rows[word] == "cats version 2 (abababababab)"
        assert not {"serves", "holds"} - {word} & rows.keys()
        assert rows.get("server") == server


def test_a_status_that_asked_no_server_says_what_the_device_holds(read):
    assert read(status_view([Standing(device=KITCHEN, status=STATUS)]))["holds"].startswith("cats version 2")
    empty = read(status_view([Standing(device=KITCHEN, status=replace(STATUS, active=None))]))
    assert (empty["holds"], "rollback to" in empty) == ("nothing yet", False)


def test_where_a_rollback_goes_is_said_in_words_also_where_it_goes_nowhere(read):
    alone = read(status_view([Standing(device=KITCHEN, status=STATUS)]))
    assert alone["rollback to"] == "nothing: no other bundle is left there to go back to"
    two = replace(STATUS, previous=replace(ACTIVE, version=1, sha256="01" * 32))
    assert read(status_view([Standing(device=KITCHEN, status=two)]))["rollback to"] == "cats version 1 (010101010101)"
    back = RolledBack(active=None, taken_back=ACTIVE, audit_head="cd" * 32)
    assert read(rollback_view([WentBack(device=KITCHEN, answer=back)]))["holds"] == "nothing"


@pytest.mark.parametrize(
    ("unit", "said"), [("/etc/x.service", "/etc/x.service"), ("", f"by hand; this starts it: | {LINE}")]
)
def test_a_setup_without_systemd_says_the_whole_line_that_starts_the_server(read, unit, said):
    done = SetUp(
        device="kitchen", base="/root/tinsmith", python="3.11", engine="litert", wheels=(), unit=unit, notes=(),
        facts=FACTS, durations_ms={},
    )  # fmt: skip

    assert read(setup_view([Outcome(device=KITCHEN, done=done)]))["server"] == said


def test_an_older_agent_says_not_what_starts_its_server():
    document = answer_json(InstalledBundle(bundle=ACTIVE, served=NOT_RUNNING))
    assert document.pop("start") == ""

    read = InstalledBundle.read(Fields(document, of="an answer", hint=""))

    assert (read.served, read.start) == (NOT_RUNNING, "")
    assert asdict(read.bundle) == asdict(ACTIVE)
