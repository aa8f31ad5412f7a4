"""A whole server, put together of its parts."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import TinsmithError
from tinsmith.runtime.monitor.monitors import Monitors, MonitorSettings
from tinsmith.runtime.server.connection import ConnectionLimits
from tinsmith.runtime.server.handler import Pages, ServerHandler
from tinsmith.runtime.server.listener import Listener, ListenerLimits, listen
from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.models import Models
from tinsmith.runtime.server.page import status_page
from tinsmith.runtime.server.servables import Servables, Source
from tinsmith.runtime.server.tls import server_context
from tinsmith.runtime.server.tokens import Tokens
from tinsmith.runtime.server.watching import FileWatcher

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from tinsmith.runtime.audit import AuditLog
    from tinsmith.runtime.bundle.minisign import PublicKey
    from tinsmith.runtime.server.asgi import UvicornListener
    from tinsmith.runtime.server.servables import Unpack
    from tinsmith.runtime.server.serving import Servable, ServedModel
    from tinsmith.runtime.server.settings import ServerSettings

__all__ = ["Server"]


class Server:
    """Binds its port at once, answers from ``start`` on, and serves models as they are loaded."""

    def __init__(self, settings: ServerSettings) -> None:
        """Check everything but the models, and bind the port.

        Raises:
            HostError: The port is in use, or a file of tokens, keys or certificates can't be read.
            OutputError: There is no folder to keep artifacts in.
            UsageError: A key is none.
        """
        self._settings = settings
        self._monitors = Monitors(_monitoring(settings))
        self._models = Models(
            _sources(settings),
            Servables(_state_folder(), _unpacker(settings), only_bundles=bool(settings.trust)),
            audit=_audit(settings),
            watchers_of=self._monitors.watch,
        )
        self._files = FileWatcher({model.name: model.path for model in settings.models}, self._models.refresh)
        self._started_s = time.monotonic()
        tokens = None if settings.tokens is None else Tokens(settings.tokens)
        handler = ServerHandler(
            self._models,
            limits=settings.limits,
            token=None if tokens is None else tokens.admit,
            pages=Pages(status=status_page, metrics=self._metrics, monitor=self._monitor),
        )
        self._listener = _transport(settings, handler)

    @property
    def url(self) -> str:
        """Where it answers, such as ``http://127.0.0.1:8080``."""
        return self._listener.url

    def start(self) -> None:
        """Answer from now on: alive at once, and ready when ``load`` is through."""
        self._listener.start()

    def load(self) -> None:
        """Load every model; one that is refused is unavailable while others serve.

        Raises:
            TinsmithError: Not one of them serves, and no agent will bring another: the first one's reason.
        """
        refused = self._models.load_all(by="start")
        if len(refused) == len(self._settings.models) and not self._settings.follow:
            raise refused[self._settings.models[0].name]
        if self._settings.watch:
            self._files.start()

    def reload(self) -> None:
        """Swap every model whose file holds other bytes now; each that is refused goes on as it was."""
        for model in self._settings.models:
            self._models.refresh(model.name, by="signal")

    def stop(self) -> None:
        """Finish what is under way, and let go of everything."""
        self._listener.stop(drain_s=self._settings.limits.deadline_s)
        self._files.close()
        with contextlib.suppress(TinsmithError):  # what is captured is lost, and the log has said so
            self._monitors.close()
        self._models.close()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _metrics(self) -> str:
        from tinsmith.runtime.server.metrics import ServerFacts, metrics_text

        with contextlib.ExitStack() as leases:
            models = []
            states = self._models.index()
            for state in states:
                with contextlib.suppress(Refusal):
                    models.append(leases.enter_context(self._models.lease(state.name)))
            drift = {model.servable.name: self._monitors.drift(model.servable) for model in models}
            facts = ServerFacts(
                started_s=self._started_s,
                states=states,
                events=self._models.events,
                drift={name: report for name, report in drift.items() if report is not None},
            )
            return metrics_text(models, facts)

    def _monitor(self, model: ServedModel) -> dict[str, Any]:
        return self._monitors.document(model, promise=model.servable.promise)


def _sources(settings: ServerSettings) -> list[Source]:
    return [
        Source(name=model.name, path=model.path, limits=settings.limits, may_fall=settings.follow)
        for model in settings.models
    ]


def _audit(settings: ServerSettings) -> AuditLog | None:
    if settings.audit is None:
        return None
    from tinsmith.runtime.audit import AuditLog

    return AuditLog(settings.audit)


def _monitoring(settings: ServerSettings) -> MonitorSettings:
    if settings.capture is None:
        return MonitorSettings()
    from tinsmith.runtime.monitor.capture import CaptureLimits

    limits = CaptureLimits(most_samples=settings.capture.samples, most_age_s=settings.capture.age_h * 3600)
    return MonitorSettings(capture=settings.capture.folder, capture_limits=limits)


def _transport(settings: ServerSettings, handler: ServerHandler) -> Listener | UvicornListener:
    """What carries requests to the handler; its port is bound."""
    tls = (settings.certificate, settings.key) if settings.certificate and settings.key else None
    limits = _listening(settings)
    if settings.transport == "sockets":
        context = server_context(*tls) if tls else None
        return Listener(listen(settings.host, settings.port), handler, limits=limits, tls=context)
    from tinsmith.runtime.server.asgi import UvicornListener

    return UvicornListener(listen(settings.host, settings.port), handler, limits=limits, tls=tls)


def _listening(settings: ServerSettings) -> ListenerLimits:
    limits = settings.limits
    return ListenerLimits(
        connections=settings.max_connections,
        connection=ConnectionLimits(max_body_bytes=limits.max_body_bytes, deadline_s=limits.deadline_s),
    )


def _unpacker(settings: ServerSettings) -> Unpack:
    """What verifies and unpacks bundles; its keys are read now, and nothing more is imported before it is used."""
    keys: tuple[PublicKey, ...] = ()
    key = None
    if settings.trust:
        from tinsmith.runtime.bundle.minisign import load_public_key

        keys = tuple(load_public_key(str(path)) for path in settings.trust)
    if settings.decryption_key is not None:
        from tinsmith.runtime.bundle.encryption import load_encryption_key

        key = load_encryption_key(settings.decryption_key)

    def unpack(path: Path, folder: Path) -> Servable:
        from tinsmith.runtime.bundle.reading import open_bundle
        from tinsmith.runtime.bundle.trust import AllowUnsigned, TrustedKeys
        from tinsmith.runtime.bundle.unpacking import servable_of

        with open_bundle(path, trust=TrustedKeys(keys=keys) if keys else AllowUnsigned()) as bundle:
            return servable_of(bundle, folder, key=key)

    return unpack


def _state_folder() -> Path:
    """Where artifacts lie while they are served: the service's own folder, or the user's among temporary files."""
    given = os.environ.get("STATE_DIRECTORY") or os.environ.get("RUNTIME_DIRECTORY")
    if given:
        return Path(given) / "served"
    return Path(tempfile.gettempdir()) / f"tinsmith-{os.geteuid()}"
