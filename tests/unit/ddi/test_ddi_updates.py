"""What a device makes of a server's actions, and what it tells the server, over real HTTP."""

import contextlib
import fcntl
import hashlib
from dataclasses import replace

import pytest

from tinsmith.runtime.agent.answering import answer
from tinsmith.runtime.agent.ddi.documents import read_deployment
from tinsmith.runtime.agent.ddi.server import RefusedError
from tinsmith.runtime.agent.filesystem import FileSystem
from tinsmith.runtime.agent.requests import Activate, Install, Receive, Status
from tinsmith.runtime.agent.trying import Tried
from tinsmith.runtime.bundle.secret_key import new_secret_key
from tinsmith.runtime.errors import DeviceError, LinkLostError, ModelLoadError, OutputError
from tinsmith.runtime.fields import Fields
from tinsmith.runtime.stages import Stages

KEY = new_secret_key()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_a_deployment_ends_with_the_bundle_committed_and_the_action_closed(device, hawkbit, bundle):
    one = bundle(1)
    action = hawkbit.deploy(one)

    end = device.follow(action)

    assert action.said == [
        ("proceeding", "none"), ("downloaded", "none"), ("proceeding", "none"), ("proceeding", "none"),
        ("closed", "success"),
    ]  # fmt: skip
    assert end["details"] == ["version 1 of cats is active, in slot a"]
    assert device.committed == one
    assert device.parts == []
    assert device.cycle() == 30.0
    assert hawkbit.attributes["tinsmith.bundle_sha256"] == digest(one)
    assert hawkbit.asked[-1] == "GET "
    assert hawkbit.installed == []


def test_the_bundle_is_on_trial_for_its_window_and_looked_after(device, hawkbit, bundle):
    action = hawkbit.deploy(bundle(1))
    device.cycle()

    assert (device.served, device.committed) == (bundle(1), None)
    device.uptime_s += 59
    device.cycle()
    assert (action.active, device.committed) == (True, None)
    device.uptime_s += 1
    device.cycle()
    assert (action.ends[0]["result"]["finished"], device.committed) == ("success", bundle(1))


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"TFL3 broken", 4, "load: the engine died on it"),
        (b"TFL3 wrong", 6, "golden: golden sample 0: off by 10"),
        (b"TFL3 sick", 7, "taken back: golden: golden sample 0: off by 3"),
    ],
)
def test_a_bundle_that_fails_closes_the_action_with_its_reason_and_the_old_one_is_served(
    device, hawkbit, bundle, content, code, said
):
    device.follow(hawkbit.deploy(bundle(1), action="1"))
    action = hawkbit.deploy(bundle(2, content), action="2")

    end = device.follow(action)

    assert (end["result"]["finished"], end["code"], end["details"][0]) == ("failure", code, said)
    assert len(action.ends) == 1
    assert device.committed == bundle(1)
    assert device.parts == []
    assert device.follow(hawkbit.deploy(bundle(3), action="3"))["result"]["finished"] == "success"


def test_an_older_version_is_refused(device, hawkbit, bundle):
    device.follow(hawkbit.deploy(bundle(5), action="1"))
    end = device.follow(hawkbit.deploy(bundle(4), action="2"))

    assert (end["code"], device.committed) == (6, bundle(5))
    assert end["details"][0] == "version: the bundle is version 4 of cats, and this device has had version 5"


def test_whose_bundles_are_taken_is_for_the_board_to_say(device, hawkbit, bundle):
    (device.base / "trusted").mkdir()
    (device.base / "trusted/k.pub").write_text(KEY.public.to_text())
    for name, keys in (("1", {}), ("2", {"signing_key": new_secret_key()})):
        end = device.follow(hawkbit.deploy(bundle(1, **keys), action=name))
        assert (end["code"], end["details"][0][:11], device.served) == (6, "signature: ", None)
    device.settings = replace(device.settings, allow_unsigned=False)
    device.start()
    assert device.follow(hawkbit.deploy(bundle(1, signing_key=KEY), action="3"))["result"]["finished"] == "success"


def test_without_a_key_unsigned_bundles_are_taken_only_where_the_settings_say_so(device, hawkbit, bundle):
    device.settings = replace(device.settings, allow_unsigned=False)
    end = device.follow(hawkbit.deploy(bundle(1)))
    assert "trusts no key" in end["details"][0]
    assert device.served is None


def test_a_tampered_artifact_is_refused_by_its_hash(device, hawkbit, bundle):
    device.follow(hawkbit.deploy(bundle(1), action="1"))
    action = hawkbit.deploy(bundle(2), action="2")
    (module,) = [module for module, _ in hawkbit.files if hawkbit.files[module, "app.tin"] == bundle(2)]
    content = bytearray(bundle(2))
    content[100] ^= 1
    hawkbit.files[module, "app.tin"] = bytes(content)

    end = device.follow(action)

    assert (end["code"], end["details"][0]) == (6, "receive: what has come is not what was sent: sha256 differs")
    assert (device.committed, device.parts) == (bundle(1), [])


class TestDocuments:
    def refused(self, device, action):
        end = device.follow(action)
        assert (end["result"]["finished"], device.served) == ("failure", None)
        return end["details"][0]

    def test_one_artifact_makes_a_deployment(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1), action="1")
        action.chunks *= 2
        assert "has 2 software modules, and must have one" in self.refused(device, action)
        action = hawkbit.deploy(bundle(1), action="2")
        action.chunks[0]["artifacts"] *= 2
        assert "cats 1.2.1 has 2 artifacts" in self.refused(device, action)
        action = hawkbit.deploy(bundle(1), action="3")
        action.chunks[0]["artifacts"] = []
        assert "cats 1.2.1 has 0 artifacts" in self.refused(device, action)
        assert "is no .tin bundle" in self.refused(device, hawkbit.deploy(bundle(1), action="4", name="app.bin"))

    @pytest.mark.parametrize("sha256", [None, "", "../../etc/passwd", "A" * 64, 7])
    def test_a_sha256_must_be_there(self, device, hawkbit, bundle, sha256):
        action = hawkbit.deploy(bundle(1), hashes={"sha256": sha256})
        assert "sha256" in self.refused(device, action)

    def test_a_size_that_is_wrong_is_found_before_anything_is_downloaded(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        action.chunks[0]["artifacts"][0]["size"] += 1
        assert "cats 1.2.1 can't be downloaded: it has" in self.refused(device, action)
        assert device.parts == []

    def test_an_artifact_that_is_gone_is_a_failure(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        hawkbit.files.clear()
        assert "hawkBit answered 404 to GET" in self.refused(device, action)

    def test_an_artifact_elsewhere_is_got_over_https_only(self, device, hawkbit, bundle):
        hawkbit.elsewhere = "http://127.0.0.2:9"
        assert "another host is asked over https only" in self.refused(device, hawkbit.deploy(bundle(1)))

    def test_links_may_have_other_names(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        links = action.chunks[0]["artifacts"][0]["_links"]
        links["http"] = links.pop("download-http")
        links["MD5sumHttp"] = links.pop("md5sum-http")
        assert device.follow(action)["result"]["finished"] == "success"

    def test_a_file_name_never_becomes_a_path(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        action.chunks[0]["artifacts"][0]["filename"] = "../../../../tmp/app.tin"
        assert device.follow(action)["result"]["finished"] == "success"


class TestHandling:
    def test_what_shall_only_be_downloaded_is(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1), kind="downloadonly")
        device.follow(action)
        assert (action.said[-1], action.state) == (("downloaded", "none"), "downloaded")
        assert device.served is None
        device.cycle()
        assert device.client.journal.action is None
        assert device.follow(hawkbit.deploy(bundle(1), action="12"))["result"]["finished"] == "success"
        assert len(hawkbit.downloads) == 1

    def test_a_maintenance_window_is_waited_for(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1), kind="soft", window="unavailable")
        for _ in range(3):
            device.cycle()
        assert action.said == [("proceeding", "none"), ("downloaded", "none")]
        assert len(hawkbit.downloads) == 1
        device.start()
        device.cycle()
        assert device.served is None
        action.window = "available"
        assert device.follow(action)["result"]["finished"] == "success"
        assert len(hawkbit.downloads) == 1

    def test_a_bundle_that_was_swept_while_it_waited_is_got_again(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1), window="unavailable")
        device.cycle()
        for path in (device.base / "parts").iterdir():
            path.unlink()
        action.window = "available"
        assert device.follow(action)["result"]["finished"] == "success"
        assert action.said.count(("downloaded", "none")) == 1

    def test_what_is_served_already_is_not_downloaded_again(self, device, hawkbit, bundle):
        device.follow(hawkbit.deploy(bundle(1), action="1"))
        hawkbit.downloads.clear()
        action = hawkbit.deploy(bundle(1), action="2")
        assert device.follow(action)["result"]["finished"] == "success"
        assert (
            hawkbit.downloads,
            [said for status in action.feedback for said in status["details"] if "trial" in said],
        ) == (
            [],
            [],
        )


class TestCancelling:
    def test_before_it_is_active_an_action_is_stopped(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        hawkbit.cuts = [100]
        with pytest.raises(LinkLostError):
            device.cycle()
        action.state = "canceling"
        device.follow(action)
        assert (action.state, action.answers) == ("canceled", ["closed"])
        assert (device.served, device.parts, device.client.journal.action) == (None, [], None)

    def test_an_action_that_is_cancelled_while_its_bundle_is_tried_is_never_active(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        take = hawkbit.take

        def cancelled(action, document):
            taken = take(action, document)
            if document["status"]["execution"] == "downloaded":
                action.state = "canceling"
            return taken

        hawkbit.take = cancelled
        try:
            device.follow(action)
        finally:
            del hawkbit.take
        assert (action.state, action.answers, device.served) == ("canceled", ["closed"], None)

    def test_an_action_that_this_device_knows_nothing_of_is_stopped_too(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1), state="canceling")
        device.follow(action)
        assert (action.state, device.served) == ("canceled", None)

    def test_a_bundle_on_trial_goes_on_and_is_reported(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        device.cycle()
        action.state = "canceling"
        device.cycle()
        assert (action.state, action.answers) == ("running", ["rejected"])
        assert device.follow(action)["result"]["finished"] == "success"
        assert device.committed == bundle(1)

    def test_it_is_too_late_for_what_was_committed_while_the_server_was_away(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        device.cycle()
        device.uptime_s += 100
        hawkbit.faults = [503] * 5
        with pytest.raises(RefusedError, match="503"):
            device.cycle()
        assert device.committed == bundle(1)
        action.state = "canceling"
        hawkbit.faults = []
        device.follow(action)
        assert action.ends[0]["result"]["finished"] == "success"

    def test_what_the_server_forgets_is_dropped(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1), window="unavailable")
        device.cycle()
        action.state = "canceled"  # by force: the device is not asked
        device.cycle()
        assert device.client.journal.action is None
        action = hawkbit.deploy(bundle(2), action="12")
        hawkbit.cuts = [100]
        with pytest.raises(LinkLostError):
            device.cycle()
        action.state = "canceled"
        device.cycle()
        assert device.parts == [digest(bundle(1))]


class TestConfirming:
    def test_what_could_be_installed_is_confirmed(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1), state="confirm")
        device.cycle()
        assert (action.state, action.answers) == ("running", [("confirmed", ["cats 1.2.1"])])
        assert device.follow(action)["result"]["finished"] == "success"

    def test_what_could_not_is_denied_once(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1), state="confirm")
        action.chunks *= 2
        for _ in range(3):
            device.cycle()
            device.start()
        assert [answer for answer, _ in action.answers] == ["denied"]
        assert "2 software modules" in action.answers[0][1][0]

    def test_a_person_may_keep_it_to_themselves(self, device, hawkbit, bundle):
        device.settings = replace(device.settings, confirm=False)
        action = hawkbit.deploy(bundle(1), state="confirm")
        device.cycle()
        assert (action.state, action.answers) == ("confirm", [])

    def test_consent_may_be_taken_back_while_a_window_is_waited_for(self, device, hawkbit, bundle):
        device.settings = replace(device.settings, confirm=False)
        action = hawkbit.deploy(bundle(1), window="unavailable")
        device.cycle()
        action.state = "confirm"
        device.cycle()
        action.state, action.window = "running", "available"
        assert device.follow(action)["result"]["finished"] == "success"
        assert len(hawkbit.downloads) == 1


class TestReporting:
    def test_attributes_are_sent_when_they_are_asked_for(self, device, hawkbit):
        hawkbit.want_attributes = True
        device.cycle()
        asked = len(hawkbit.asked)
        assert hawkbit.attributes["tinsmith.bundle"] == ""
        assert "litert" in hawkbit.attributes["tinsmith.engines"]
        device.cycle()
        assert hawkbit.asked[asked:] == ["GET "]

    def test_a_bundle_that_came_another_way_is_reported_once(self, device, hawkbit, bundle):
        device.follow(hawkbit.deploy(bundle(1), action="1"))
        hawkbit.known_sets = {("cats", "1")}
        device.base.joinpath("hawkbit-action.json").unlink()
        for _ in range(2):
            device.start()
            device.cycle()
            device.cycle()
        assert hawkbit.installed == [("cats", "1")]

    def test_a_server_that_has_no_such_set_is_left_alone(self, device, hawkbit, bundle):
        device.follow(hawkbit.deploy(bundle(1), action="1"))
        device.base.joinpath("hawkbit-action.json").unlink()
        device.start()
        device.cycle()
        device.cycle()
        assert hawkbit.installed == [("cats", "1")]

    def test_what_the_server_would_not_hear_is_said_again_and_not_done_again(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(2, b"TFL3 sick"))
        device.cycle()
        action.state = "confirm"  # consent is taken back while the bundle is on trial: 404 to all feedback
        device.settings = replace(device.settings, confirm=False)
        device.start()
        device.cycle()
        assert (action.ends, device.served) == ([], None)
        action.state = "running"
        assert device.follow(action)["result"]["finished"] == "failure"
        assert len(hawkbit.downloads) == 1

    def test_how_another_bundle_ended_is_not_said_of_this_one(self, device, hawkbit, bundle):
        hawkbit.deploy(bundle(1), action="1")
        device.cycle()
        device.uptime_s += 100
        hawkbit.actions.clear()
        device.cycle()
        assert device.client.journal.end_of("1").finished == "success"
        hawkbit.forget()
        end = device.follow(hawkbit.deploy(bundle(2, b"TFL3 wrong"), action="1"))
        assert end["result"]["finished"] == "failure"

    def test_a_server_that_was_set_up_anew_counts_from_one_again(self, device, hawkbit, bundle):
        for version in (1, 2):
            hawkbit.forget()
            action = hawkbit.deploy(bundle(version), action="1")
            assert device.follow(action)["details"] == [
                f"version {version} of cats is active, in slot {'_ab'[version]}"
            ]
        hawkbit.forget()
        end = device.follow(hawkbit.deploy(bundle(1), action="1"))
        assert (end["result"]["finished"], device.committed) == ("failure", bundle(2))


class TestOthers:
    def test_another_host_is_not_disturbed(self, device, hawkbit, bundle):
        one, two = bundle(1), bundle(2)
        device.follow(hawkbit.deploy(one, action="1"))
        action = hawkbit.deploy(two, action="2")
        with (device.base / "lock").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(DeviceError, match="somebody else is updating"):
                device.cycle()
        assert device.follow(action)["result"]["finished"] == "success"
        assert len(hawkbit.downloads) == 2

    def test_another_host_s_trial_is_waited_for(self, device, hawkbit, bundle):
        content = bundle(1, name="dogs")
        ask = lambda request: answer(device.board, request, Stages("x"), attempt=device.attempt)  # noqa: E731
        ask(Status())
        (device.base / "parts" / f"{digest(content)}.part").write_bytes(content)
        ask(Receive(sha256=digest(content), size_bytes=len(content), part=digest(content), form="whole"))
        ask(Install(sha256=digest(content), allow_unsigned=True))
        ask(Activate(sha256=digest(content), window_s=50))
        action = hawkbit.deploy(bundle(2))
        with pytest.raises(DeviceError, match="another update is on trial"):
            device.cycle()
        assert hawkbit.installed == []
        assert device.follow(action)["result"]["finished"] == "success"


class Full(FileSystem):
    """Has no room for what is appended, or for anything."""

    def __init__(self, *steps):
        self.steps = steps

    def step(self, what, path):
        if what in self.steps:
            raise OutputError(f"cannot write {path} on the device: No space left on device", hint="free some space")


class TestDisks:
    def test_a_disk_that_is_too_small_for_the_bundle_is_a_failure(self, device, hawkbit, bundle):
        device.files = Full("append")
        end = device.follow(hawkbit.deploy(bundle(1)))
        assert (end["code"], device.served, device.parts) == (3, None, [])
        assert end["details"][0].endswith("No space left on device")
        assert end["details"][1] == "free some space"

    def test_a_disk_that_takes_nothing_is_waited_for(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))
        device.files = Full("create", "append")
        with pytest.raises(OutputError):
            device.cycle()
        assert (action.feedback, hawkbit.downloads) == ([], [])
        device.files.steps = ()
        assert device.follow(action)["result"]["finished"] == "success"

    def test_a_trial_on_a_disk_that_became_full_ends_with_the_truth(self, device, hawkbit, bundle):
        device.follow(hawkbit.deploy(bundle(1), action="1"))
        device.files = Full()
        device.start()
        action = hawkbit.deploy(bundle(2), action="2")
        device.cycle()
        device.files.steps = ("create", "append")
        for _ in range(30):
            with contextlib.suppress(OutputError):
                device.cycle()
            device.uptime_s += 20
        assert action.ends == []
        device.files.steps = ()
        assert device.follow(action)["code"] == 7
        assert device.committed == bundle(1)


class TestEnding:
    """SIGTERM goes to a client in the middle, and with some systemds to the child that tries a bundle."""

    def ending(self, device, number):
        """Ends the client while a bundle is tried for the so-manieth time, which fails therefore."""
        calls = []

        def attempt(candidate, stages):
            calls.append(candidate)
            if len(calls) == number:
                device.client.end()
                raise ModelLoadError("the engine died on it")
            return Tried(engine="litert", version="2")

        return attempt

    @pytest.mark.parametrize("number", [1, 2])
    def test_what_fails_then_does_not_count(self, device, hawkbit, bundle, number):
        action = hawkbit.deploy(bundle(1))
        device.attempt = self.ending(device, number)
        device.start().run() if number == 1 else device.cycle()
        if number == 2:
            device.client.run()
        assert (action.ends, device.client.journal.action.id) == ([], "11")
        assert (device.served is None) == (number == 1)
        device.start()
        assert device.follow(action)["result"]["finished"] == "success"

    def test_no_further_step_is_begun(self, device, hawkbit, bundle):
        action = hawkbit.deploy(bundle(1))

        def attempt(candidate, stages):
            device.client.end()
            return Tried(engine="litert", version="2")

        device.attempt = attempt
        device.start().run()
        assert (device.served, action.ends) == (None, [])


def test_a_window_that_is_closed_is_heeded_whatever_else_is_said():
    chunk = {"name": "n", "version": "1", "artifacts": [
        {"filename": "a.tin", "hashes": {"sha256": "a" * 64}, "size": 1, "_links": {"download": {"href": "/a"}}}
    ]}  # fmt: skip
    for window, update in ((None, True), ("available", True), ("unavailable", False)):
        document = {"deployment": {"update": "forced", "maintenanceWindow": window, "chunks": [chunk]}}
        assert read_deployment(Fields(document, of="x", hint="y")).update == update
