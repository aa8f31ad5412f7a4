"""What a server is told before it starts, and the JSON form in which a command line, a unit or a board says it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.facts import Facts
from tinsmith.runtime.server.serving import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TRANSPORTS", "Capturing", "ModelSource", "ServerSettings", "read_settings"]

TRANSPORTS = ("sockets", "uvicorn")
_LARGEST_PORT = 65535
_LOCAL = ("127.0.0.1", "::1", "localhost")
_HINT = "`tinsmith serve --print settings` shows a whole file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A file that is served.

    Attributes:
        name: In the addresses; letters, digits, ``.``, ``-`` and ``_``.
        path: Of a bundle, or a bare .tflite or .onnx file.
    """

    name: str
    path: Path

    def __post_init__(self) -> None:
        if not self.name or not all(sign.isalnum() or sign in ".-_" for sign in self.name) or not self.name.isascii():
            raise UsageError(
                f"{self.name!r} can't be the name of a served model: it takes letters, digits, '.', '-' and '_'",
                hint=f"name it: tinsmith serve NAME={self.path}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capturing:
    """A sample of what models are asked, kept for the next calibration.

    Attributes:
        folder: One .npz a model is written there.
        samples: At most so many a model, drawn evenly.
        age_h: Those that are older, in hours, are dropped.
    """

    folder: Path
    samples: int = 256
    age_h: float = 168.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """A whole server.

    Attributes:
        models: What it serves, each under a name of its own.
        host: The address that it binds; one that others can reach needs tokens, TLS or ``insecure``.
        port: 0 takes a free one.
        tokens: A file of bearer tokens, one a line; None lets everybody in.
        certificate: A PEM file; TLS where it is given.
        key: The PEM file of its private key.
        insecure: Whether others may reach it without tokens and without TLS.
        trust: Public keys in minisign's format: only bundles that one of them has signed are served.
        decryption_key: A file with the key of encrypted bundles.
        watch: Whether a file that changes is swapped in.
        follow: Whether an agent decides what lies at the models' paths: the server then waits for what is not there
            yet, and swaps in an older version as well, because going back is the agent's to decide.
        audit: The file of the audit log; None for none.
        capture: What to keep of what comes in; None for nothing.
        transport: ``sockets``, a thread for each connection, which needs nothing; or ``uvicorn``, for hosts.
        limits: Of each model.
        max_connections: At once; one more is sent away.
    """

    models: tuple[ModelSource, ...]
    host: str = "127.0.0.1"
    port: int = 8080
    tokens: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    trust: tuple[Path, ...] = ()
    decryption_key: Path | None = None
    watch: bool = True
    follow: bool = False
    audit: Path | None = None
    capture: Capturing | None = None
    transport: Literal["sockets", "uvicorn"] = "sockets"
    limits: Limits = field(default_factory=Limits)
    max_connections: int = 128

    def __post_init__(self) -> None:
        self._check_models()
        if self.port > _LARGEST_PORT:
            raise UsageError(f"there is no port {self.port}", hint=f"take one from 1 to {_LARGEST_PORT}, or 0 for any")
        if (self.certificate is None) != (self.key is None):
            raise UsageError("TLS takes a certificate and its key", hint="give both --certificate and --key")
        if self.host not in _LOCAL and not (self.tokens or self.certificate or self.insecure):
            raise UsageError(
                f"binding {self.host} lets others reach the models, and nothing keeps strangers out",
                hint="give --token-file, or --certificate and --key, or --insecure where the network is safe",
            )

    @property
    def tokens_in_clear(self) -> bool:
        """Whether tokens cross a network that others may listen to."""
        return bool(self.tokens) and self.certificate is None and self.host not in _LOCAL

    def _check_models(self) -> None:
        names = [model.name for model in self.models]
        if not names:
            raise UsageError("there is nothing to serve", hint="name a model: tinsmith serve app.tin")
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two models are called {name!r}", hint="name one of them: tinsmith serve NAME=PATH")

    def to_json(self) -> dict[str, Any]:
        """The form that ``read_settings`` reads; what is not set is left out."""
        return {key: _written(value) for key, value in asdict(self).items() if value is not None}


def read_settings(text: str, *, of: str) -> ServerSettings:
    """Read the JSON form.

    Args:
        text: The document.
        of: What it is, for messages, such as ``the settings serve.json``.

    Raises:
        UsageError: It is no JSON, a key is unknown or missing, or a value can't be.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{of} is no JSON: {error}", hint=_HINT) from error
    if not isinstance(document, dict):
        raise UsageError(f"{of} is no JSON object", hint=_HINT)
    facts = Facts(document, of=of, hint=_HINT)
    settings = ServerSettings(models=tuple(_model(table) for table in facts.tables("models")), **_rest(facts))
    facts.end()
    return settings


def _rest(facts: Facts) -> Mapping[str, Any]:
    """Every setting but the models that is there."""
    readers: dict[str, Any] = {
        "host": facts.text,
        "port": lambda key: facts.count(key, least=0),
        **dict.fromkeys(("tokens", "certificate", "key", "decryption_key", "audit"), lambda key: Path(facts.text(key))),
        **dict.fromkeys(("insecure", "watch", "follow"), facts.flag),
        "trust": lambda key: tuple(Path(name) for name in facts.names(key)),
        "capture": lambda key: _capturing(facts.table(key)),
        "max_connections": facts.count,
        "transport": lambda key: facts.one_of(key, TRANSPORTS),
        "limits": lambda key: _limits(facts.table(key)),
    }
    return {key: read(key) for key, read in readers.items() if key in facts}


def _model(facts: Facts) -> ModelSource:
    source = ModelSource(name=facts.text("name"), path=Path(facts.text("path")))
    facts.end()
    return source


def _capturing(facts: Facts) -> Capturing:
    readers: dict[str, Any] = {
        "samples": facts.count,
        "age_h": lambda key: facts.number(key, least=0),
    }
    said = {key: read(key) for key, read in readers.items() if key in facts}
    capturing = Capturing(folder=Path(facts.text("folder")), **said)
    facts.end()
    return capturing


def _limits(facts: Facts) -> Limits:
    readers: dict[str, Any] = {
        **dict.fromkeys(("instances", "max_batch", "max_body_bytes"), facts.count),
        "queue": lambda key: facts.count(key, least=0),
        **dict.fromkeys(("deadline_s", "time_limit_s"), lambda key: facts.number(key, least=0.001)),
        "max_delay_ms": lambda key: facts.number(key, least=0),
        "finite": facts.flag,
    }
    assert readers.keys() == {field.name for field in fields(Limits)}
    limits = Limits(**{key: read(key) for key, read in readers.items() if key in facts})
    facts.end()
    return limits


def _written(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _written(inner) for key, inner in value.items() if inner is not None}
    return [_written(inner) for inner in value] if isinstance(value, tuple | list) else value
