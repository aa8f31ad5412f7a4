"""The link between a device and its server: cut, slow, refused, misled."""

import contextlib
import datetime
import hashlib
import ipaddress
import os
import ssl
import threading
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.runtime.agent.ddi.server import HawkbitServer, RefusedError
from tinsmith.runtime.agent.ddi.settings import Token
from tinsmith.runtime.errors import DataError, DeviceError, LinkLostError, UnreachableError

BIG = os.urandom(700_000)


@pytest.fixture
def big(bundle):
    return bundle(1, b"TFL3" + BIG)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class TestDownloads:
    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(cuts=st.lists(st.integers(0, 720_000), max_size=6))
    def test_a_download_that_is_cut_goes_on_where_it_ended(self, hawkbit, big, new_device, tmp_path_factory, cuts):
        hawkbit.forget()
        device = new_device(tmp_path_factory.mktemp("board"), hawkbit)
        action = hawkbit.deploy(big)
        hawkbit.cuts = list(cuts)

        assert device.follow(action)["result"]["finished"] == "success"
        assert device.committed == big
        for cut, (start, sent), (after, _) in zip(cuts, hawkbit.downloads, hawkbit.downloads[1:], strict=False):
            # a reset takes with it what lay in the system's buffers; an end does not
            assert start <= after <= start + sent if cut % 2 else after == start + sent
        assert hawkbit.downloads[-1][0] + hawkbit.downloads[-1][1] == len(big)

    def test_a_server_without_ranges_sends_it_anew(self, hawkbit, big, device):
        action = hawkbit.deploy(big)
        hawkbit.cuts, hawkbit.ranges = [300_000], False
        assert device.follow(action)["result"]["finished"] == "success"
        assert hawkbit.downloads == [(0, 300_000), (0, len(big))]

    @pytest.mark.parametrize("part", [b"rot" * 100_000, b"rot" * 1_000_000])
    def test_a_part_that_the_power_has_damaged_is_got_anew(self, hawkbit, big, device, part):
        action = hawkbit.deploy(big)
        (device.base / "parts").mkdir()
        (device.base / "parts" / f"{sha256(big)}.part").write_bytes(part)
        assert device.follow(action)["result"]["finished"] == "success"
        assert hawkbit.downloads[-1] == (0, len(big))
        assert len(hawkbit.downloads) <= 2

    def test_a_part_that_is_whole_and_wrong_is_got_anew(self, hawkbit, big, device):
        action = hawkbit.deploy(big)
        (device.base / "parts").mkdir()
        (device.base / "parts" / f"{sha256(big)}.part").write_bytes(bytes(len(big)))
        assert device.follow(action)["result"]["finished"] == "success"

    def test_another_range_than_was_asked_for_is_not_taken(self, hawkbit, big, device):
        def other_range(handler):
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes 5-{len(big) - 1}/{len(big)}")
            handler.send_header("Content-Length", "3")
            handler.end_headers()
            handler.wfile.write(b"abc")

        action = hawkbit.deploy(big)
        hawkbit.cuts = [100_000]
        with pytest.raises(LinkLostError):
            device.cycle()
        hawkbit.faults = [None, None, other_range]
        with pytest.raises(LinkLostError, match="another range"):
            device.cycle()
        assert device.follow(action)["result"]["finished"] == "success"
        assert hawkbit.downloads == [(0, 100_000), (100_000, len(big) - 100_000)]

    @pytest.mark.parametrize("status", [500, 503, 429, 401, 403])
    def test_an_artifact_that_is_not_given_now_is_asked_for_again(self, hawkbit, bundle, device, status):
        action = hawkbit.deploy(bundle(1))
        hawkbit.faults = [None, None, None, status]
        with pytest.raises(RefusedError, match=str(status)):
            device.cycle()
        assert device.follow(action)["result"]["finished"] == "success"
        assert len(action.ends) == 1


class TestAnswers:
    @pytest.mark.parametrize(
        ("body", "error"),
        [
            (b"", DataError),
            (b"<html>welcome</html>", DataError),
            (b"[" * 100_000, DataError),
            (b'{"config": {"polling": 7}}', DataError),
            (b'{"_links": {"deploymentBase": {"href": 3}}}', DataError),
            (b'{"_links": {"deploymentBase": {"href": "/x/../../etc"}}}', RefusedError),
            (b'{"_links": {"deploymentBase": {"href": "http://[::1/11"}}}', DataError),
            (b'{"_links": {"deploymentBase": {"href": "/deploymentBase/1 1"}}}', DataError),
            (b'{"_links": {"configData": {"href": "http://a..b/\\u00e4"}}}', DeviceError),
            (b'{"more": "' + b"x" * 2_000_000 + b'"}', LinkLostError),
        ],
    )
    def test_what_is_no_document_is_said_and_asked_for_again(self, hawkbit, device, body, error):
        def answer(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        hawkbit.faults = [answer]
        with pytest.raises(error):
            device.cycle()
        assert device.cycle() == 30.0

    def test_a_document_that_is_cut_is_none(self, hawkbit, device):
        def answer(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", "50")
            handler.end_headers()
            handler.wfile.write(b"{}")
            handler.close_connection = True

        hawkbit.faults = [answer]
        with pytest.raises(LinkLostError, match="48 bytes early"):
            device.cycle()

    def test_what_the_server_says_of_an_error_is_passed_on(self, hawkbit, device):
        hawkbit.faults = [lambda handler: handler.answer(400, {"message": "tenant not known", "errorCode": "x"})]
        with pytest.raises(RefusedError, match=r"400 to GET .*\(tenant not known\)"):
            device.cycle()

    @pytest.mark.parametrize(
        ("sleep", "seconds"),
        [("00:05:00", 300), ("23:59:59", 86_399), ("00:00:00", 5), ("99:00:00", 86_400), ("PT5M", 300), ("5", 300)],
    )
    def test_the_server_says_how_often_it_is_polled(self, hawkbit, device, sleep, seconds):
        hawkbit.sleep = sleep
        assert device.cycle() == seconds

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_no_redirect_is_followed(self, hawkbit, bundle, device, status):
        def elsewhere(handler):
            handler.answer(status, None, Location=f"{hawkbit.url}/elsewhere")

        action = hawkbit.deploy(bundle(1))
        hawkbit.faults = [elsewhere]
        with pytest.raises(RefusedError):
            device.cycle()
        hawkbit.faults = [None, None, None, elsewhere]
        assert device.follow(action)["result"]["finished"] == "failure"
        assert not [asked for asked in hawkbit.asked if "elsewhere" in asked]

    def test_nobody_there(self, hawkbit, device):
        device.settings = replace(device.settings, url="http://127.0.0.1:9")
        with pytest.raises(UnreachableError, match=r"cannot reach hawkBit at http://127.0.0.1:9"):
            device.cycle()

    def test_a_link_of_an_action_never_leads_to_another_host(self, hawkbit, bundle, device):
        hawkbit.deploy(bundle(1))
        home, hawkbit.url = hawkbit.url, "https://127.0.0.2:9"
        try:
            with pytest.raises(DeviceError, match=r"another host: https://127.0.0.2:9") as caught:
                device.cycle()
        finally:
            hawkbit.url = home
        assert "forward-headers-strategy" in caught.value.hint

    def test_a_server_that_never_answers_is_left_after_a_time_and_at_once_when_the_client_ends(self, hawkbit, device):
        server = HawkbitServer(device.settings, timeout_s=0.05)
        left = threading.Event()
        hawkbit.faults = [lambda handler: left.wait(60)]
        with pytest.raises(UnreachableError, match="timed out"):
            server.get(device.settings.root, of="x")
        left.set()
        server = HawkbitServer(device.settings, timeout_s=30)
        hawkbit.faults = [lambda handler: server.hang_up()]
        with pytest.raises(UnreachableError):
            server.get(device.settings.root, of="x")
        asked = len(hawkbit.asked)
        with pytest.raises(UnreachableError, match="told to end"):
            server.get(device.settings.root, of="x")
        assert len(hawkbit.asked) == asked


class Waits:
    """Stands for the event that ends the client: records what is waited for."""

    def __init__(self, most):
        self.waited, self._most = [], most

    def is_set(self):
        return len(self.waited) >= self._most

    def wait(self, seconds):
        self.waited.append(seconds)


class TestWaiting:
    def waits(self, device, number):
        client = device.start()
        client._end = Waits(number)
        client.run()
        return client._end.waited

    def test_after_errors_it_waits_ever_longer_and_never_not_at_all(self, hawkbit, device):
        hawkbit.faults = [500] * 12
        assert self.waits(device, 14) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 30, 30]

    def test_devices_that_lost_their_server_together_come_back_apart(self, hawkbit, device):
        client = device.start()
        client._chance = lambda: 0.0
        client._end = Waits(3)
        hawkbit.faults = [500] * 3
        client.run()
        assert client._end.waited == [0.5, 1, 2]

    @pytest.mark.parametrize(("said", "seconds"), [("120", 120), ("999999", 3600), ("soon", 1)])
    def test_a_server_that_wants_to_be_left_alone_is(self, hawkbit, device, said, seconds):
        hawkbit.faults = [lambda handler: handler.answer(429, None, Retry_After=said)]
        assert self.waits(device, 2) == [seconds, 30]

    def test_what_a_person_has_to_mend_is_not_asked_for_every_second(self, hawkbit, device):
        hawkbit.faults = [401, 403, 404]
        assert self.waits(device, 4) == [300, 300, 300, 30]

    def test_a_bundle_on_trial_is_looked_after_while_the_server_is_away(self, hawkbit, bundle, device):
        hawkbit.deploy(bundle(1))
        client = device.start()
        client.cycle()
        client._end = Waits(12)
        hawkbit.faults = [500] * 30
        client.run()
        assert max(client._end.waited) == 15

    def test_a_download_that_goes_on_is_no_failure(self, hawkbit, big, device):
        hawkbit.deploy(big)
        hawkbit.cuts = [100_000, 100_000, 100_000, 0, 0]
        waited = self.waits(device, 5)
        assert waited == [1, 1, 1, 2, 4]

    def test_feedback_that_can_not_be_told_is_told_later(self, hawkbit, bundle, device):
        action = hawkbit.deploy(bundle(1))
        device.cycle()
        device.uptime_s += 100
        hawkbit.faults = [503] * 3
        for _ in range(3):
            with pytest.raises(RefusedError):
                device.cycle()
            device.start()
        assert (device.committed, action.ends) == (bundle(1), [])
        device.cycle()
        assert len(action.ends) == 1

    @pytest.mark.parametrize(("status", "owed"), [(403, True), (400, False), (404, False), (410, False)])
    def test_feedback_that_is_not_wanted_is_not_told_for_ever(self, hawkbit, bundle, device, status, owed):
        hawkbit.deploy(bundle(1))
        device.cycle()
        device.uptime_s += 100
        assert device.client.journal.owed == ()
        hawkbit.faults = [status]
        with pytest.raises(RefusedError) if owed else contextlib.nullcontext():
            device.cycle()
        assert bool(device.client.journal.owed) == owed


class TestTokens:
    @pytest.fixture
    def token(self, tmp_path):
        path = tmp_path / "token"
        path.write_text("5ecret-t0ken\n")
        return Token(scheme="TargetToken", path=path)

    def test_a_token_lets_in_and_is_never_said(self, hawkbit, bundle, device, token, caplog):
        caplog.set_level(0)
        hawkbit.token = "TargetToken 5ecret-t0ken"
        device.settings = replace(device.settings, token=token)
        assert device.follow(hawkbit.deploy(bundle(1)))["result"]["finished"] == "success"
        token.path.write_text("wr0ng")
        with pytest.raises(RefusedError, match="401") as caught:
            device.cycle()
        said = caplog.text + repr(caught.value) + caught.value.hint + (device.base / "hawkbit-action.json").read_text()
        assert "t0ken" not in said
        assert "wr0ng" not in said

    def test_a_token_that_went_away_fails_no_action(self, hawkbit, bundle, device, token):
        device.settings = replace(device.settings, token=token)
        action = hawkbit.deploy(bundle(1))
        hawkbit.cuts = [100]
        with pytest.raises(LinkLostError):
            device.cycle()
        token.path.rename(token.path.with_name("away"))
        with pytest.raises(UnreachableError, match="cannot read the token"):
            device.cycle()
        token.path.with_name("away").rename(token.path)
        assert device.follow(action)["result"]["finished"] == "success"
        assert set(hawkbit.tokens) == {"TargetToken 5ecret-t0ken"}

    def test_a_gateway_token_has_another_name(self, hawkbit, device, token):
        hawkbit.token = "GatewayToken 5ecret-t0ken"
        device.settings = replace(device.settings, token=replace(token, scheme="GatewayToken"))
        assert device.cycle() == 30.0

    def test_an_artifact_elsewhere_gets_no_token(self, hawkbit, hawkbit_over_tls, bundle, device, token, certificate):
        elsewhere = hawkbit_over_tls(certificate.context)
        hawkbit.token = "TargetToken 5ecret-t0ken"
        hawkbit.elsewhere = elsewhere.url
        device.settings = replace(device.settings, token=token, ca_file=certificate.path)
        action = hawkbit.deploy(bundle(1))
        elsewhere.files = dict(hawkbit.files)
        hawkbit.files.clear()
        assert device.follow(action)["result"]["finished"] == "success"
        assert elsewhere.tokens == [None]

    def test_the_server_itself_is_asked_over_tls_and_proves_who_it_is(
        self, hawkbit_over_tls, bundle, device, token, certificate
    ):
        hawkbit = hawkbit_over_tls(certificate.context)
        hawkbit.token = "TargetToken 5ecret-t0ken"
        device.settings = replace(device.settings, url=hawkbit.url, token=token)
        with pytest.raises(UnreachableError, match="certificate verify failed") as caught:
            device.cycle()
        assert "ca_file" in caught.value.hint
        assert hawkbit.tokens == []
        device.settings = replace(device.settings, ca_file=certificate.path)
        device.start()
        assert device.follow(hawkbit.deploy(bundle(1)))["result"]["finished"] == "success"


class Certificate:
    def __init__(self, folder):
        self.path = folder / "cert.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hawkbit")])
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        now = datetime.datetime.now(datetime.timezone.utc)
        made = (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret = folder / "key.pem"
        form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.path, secret)


@pytest.fixture
def certificate(tmp_path):
    return Certificate(tmp_path)
