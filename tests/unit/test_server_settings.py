"""What a server is told: its JSON form gives the same again, and what can't be is refused with the key's name."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.server.serving import Limits
from tinsmith.runtime.server.settings import TRANSPORTS, Capturing, ModelSource, ServerSettings, read_settings

names = st.text("abcXYZ019.-_", min_size=1, max_size=8)
paths = st.text("abc/._", min_size=1, max_size=12).map(Path)
limits = st.builds(
    Limits,
    instances=st.none() | st.integers(1, 8),
    queue=st.integers(0, 100),
    deadline_s=st.floats(0.01, 100),
    time_limit_s=st.floats(0.01, 100),
    max_batch=st.integers(1, 64),
    max_delay_ms=st.floats(0, 100),
    finite=st.booleans(),
    max_body_bytes=st.integers(1, 1 << 40),
)
sources = st.builds(ModelSource, name=names, path=paths)
settings = st.builds(
    ServerSettings,
    models=st.lists(sources, min_size=1, max_size=4, unique_by=lambda m: m.name).map(tuple),
    host=st.just("127.0.0.1"),
    port=st.integers(0, 65535),
    tokens=st.none() | paths,
    insecure=st.booleans(),
    trust=st.lists(paths, max_size=3).map(tuple),
    decryption_key=st.none() | paths,
    watch=st.booleans(),
    follow=st.booleans(),
    audit=st.none() | paths,
    capture=st.none() | st.builds(Capturing, folder=paths, samples=st.integers(1, 1000), age_h=st.floats(0, 1e6)),
    transport=st.sampled_from(TRANSPORTS),
    limits=limits,
    max_connections=st.integers(1, 1000),
)


@given(settings)
def test_the_json_form_gives_the_same_again(said):
    assert read_settings(json.dumps(said.to_json()), of="it") == said


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[]", "is no JSON object"),
        ("{", "is no JSON:"),
        ("[" * 100_000, "is no JSON:"),
        ("{}", "lacks models"),
        ('{"models": []}', "one table"),
        ('{"models": [{"name": "a"}]}', r"lacks models\[0\].path"),
        ('{"models": [{"name": "a/b", "path": "x"}]}', "can't be the name"),
        ('{"models": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}', "two models are called 'a'"),
        ('{"models": [{"name": "a", "path": "x"}], "prot": 1}', "unknown key: prot"),
        ('{"models": [{"name": "a", "path": "x"}], "port": "1"}', "port = '1'; it takes a whole number"),
        ('{"models": [{"name": "a", "path": "x"}], "port": 65536}', "no port 65536"),
        ('{"models": [{"name": "a", "path": "x"}], "watch": 1}', "watch = 1; it takes true or false"),
        ('{"models": [{"name": "a", "path": "x"}], "limits": {"queue": -1}}', "limits.queue = -1"),
        ('{"models": [{"name": "a", "path": "x"}], "limits": {"deadline_s": NaN}}', "limits.deadline_s = nan"),
        ('{"models": [{"name": "a", "path": "x"}], "limits": {"deadlines": 1}}', "unknown key: limits.deadlines"),
        ('{"models": [{"name": "a", "path": "x"}], "key": "k.pem"}', "TLS takes a certificate and its key"),
    ],
)
def test_what_cannot_be_is_refused_by_name(document, message):
    with pytest.raises(UsageError, match=message):
        read_settings(document, of="the settings it")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org"])
def test_an_address_that_others_reach_needs_a_guard(host):
    models = (ModelSource(name="a", path=Path("x")),)

    with pytest.raises(UsageError, match="keeps strangers out"):
        ServerSettings(models=models, host=host)

    for guard in ({"tokens": Path("t")}, {"certificate": Path("c"), "key": Path("k")}, {"insecure": True}):
        guarded = ServerSettings(models=models, host=host, **guard)
        assert guarded.host == host
        assert guarded.tokens_in_clear == ("tokens" in guard)
