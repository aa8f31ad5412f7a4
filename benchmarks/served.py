"""A server to measure, without HTTP; one with HTTP has the same methods, and takes its place as ``serve=``."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

from tinsmith.runtime.audit import AuditLog
from tinsmith.runtime.errors import TinsmithError
from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.models import Models
from tinsmith.runtime.server.servables import Servables


class InProcess:
    """Models of this very process."""

    def __init__(self, sources, **settings):
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._store = Servables(folder / "store", unpack=None)
        self._models = Models(sources, self._store, audit=AuditLog(folder / "audit.jsonl"), **settings)
        self._models.load_all()

    def ask(self, name, feeds, *, timeout_s=5.0):
        """One request: the status, and the outputs where it is 200."""
        try:
            with self._models.lease(name) as served:
                return 200, served.infer(feeds, deadline_s=time.monotonic() + timeout_s).outputs
        except Refusal as refusal:
            return refusal.status, None
        except TinsmithError:
            return 500, None

    def load(self, name):
        """Load what lies there now; the reason where it was refused, else None."""
        try:
            self._models.load(name)
        except TinsmithError as error:
            return error.message
        return None

    def ready(self, name):
        return any(state.name == name and state.state == "READY" for state in self._models.index())

    def unload(self, name):
        self._models.unload(name)

    @staticmethod
    def rss_bytes():
        """Of the process that serves."""
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def close(self):
        self._models.close()
        self._folder.cleanup()


@contextlib.contextmanager
def serving(serve, sources, **settings):
    server = serve(sources, **settings)
    try:
        yield server
    finally:
        server.close()
