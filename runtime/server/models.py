"""The models of a server by name, and how one takes another's place without a request failing.

::

    verify → try in a child process → golden inputs there → open here → swap the reference → drain the old → free

Whatever fails on the way leaves the old one serving, and its state says why.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import TinsmithError, VerificationError, first_line
from tinsmith.runtime.memory import give_memory_back
from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.servables import named_as
from tinsmith.runtime.server.served import open_served
from tinsmith.runtime.server.serving import ModelState
from tinsmith.runtime.server.vetting import vet_in_child
from tinsmith.runtime.server.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tinsmith.runtime.audit import AuditLog
    from tinsmith.runtime.server.servables import Servables, Source
    from tinsmith.runtime.server.served import Served
    from tinsmith.runtime.server.serving import Servable, Watcher
    from tinsmith.runtime.server.vetting import Vet
    from tinsmith.runtime.session import Session
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Models", "open_here"]

_LOG = logging.getLogger(__name__)
_READY, _LOADING, _UNLOADING, _UNAVAILABLE = "READY", "LOADING", "UNLOADING", "UNAVAILABLE"
# What a request may take beyond its deadline and one run: making arrays of its body, and an answer of its outputs.
_SLACK_S = 5.0
_RETRY_S = 5


def open_here(servable: Servable) -> Session:
    """Open an interpreter in this process, and let it pay for its first run; raises as ``open_vetted``."""
    from tinsmith.runtime.session import open_vetted

    session = open_vetted(
        servable.path, engine=servable.engine, accelerator=servable.accelerator, threads=servable.threads
    )
    session.run_raw(session.zeros())
    return session


def _no_watchers(
    servable: Servable,  # noqa: ARG001 - as those that do watch
    inputs: Sequence[TensorSpec],  # noqa: ARG001
) -> Sequence[Watcher]:
    return ()


class Models:
    """Loads, leases, swaps and unloads; see ``Repository``. Safe to call from many threads at once."""

    def __init__(
        self,
        sources: Sequence[Source],
        store: Servables,
        *,
        audit: AuditLog | None = None,
        watchers_of: Callable[[Servable, Sequence[TensorSpec]], Sequence[Watcher]] = _no_watchers,
        vet: Vet = vet_in_child,
        open_session: Callable[[Servable], Session] = open_here,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            sources: Each with a name of its own.
            store: Where the files lie that are run.
            audit: Gets a line for each load, swap, refusal and unload.
            watchers_of: Gives those that see what a model is asked and answers, by what it takes; may refuse it.
            vet: Decides whether a model is let in.
            open_session: Opens an interpreter in this process.
        """
        self._entries = {source.name: _Entry(source) for source in sorted(sources, key=lambda source: source.name)}
        self._store = store
        self._audit = audit
        self._watchers_of = watchers_of
        self._vet = vet
        self._open_session = open_session
        self._events: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._watchdog = Watchdog()

    @property
    def ready(self) -> bool:
        """Whether every model serves."""
        return all(state.state == _READY for state in self.index())

    @property
    def events(self) -> dict[tuple[str, str], int]:
        """How often, by model and event: ``load``, ``swap``, ``refusal``, ``unload``."""
        with self._lock:
            return dict(self._events)

    @contextlib.contextmanager
    def lease(self, name: str, version: str | None = None) -> Iterator[Served]:
        """A model that is not freed before the context ends; raises ``Refusal`` 404 or 503."""
        held = self._hold(name, version)
        try:
            yield held.served
        finally:
            with self._lock:
                held.leave()

    def index(self) -> list[ModelState]:
        """Every model, in the order of their names."""
        with self._lock:
            return [entry.describe() for entry in self._entries.values()]

    def load_all(self, *, by: str = "start") -> dict[str, TinsmithError]:
        """Load every model; one that is refused is unavailable, and ``index`` says why.

        Returns:
            By name, why those were refused that were.
        """
        tried = {name: self._try_load(name, by) for name in self._entries}
        return {name: refusal for name, refusal in tried.items() if refusal is not None}

    def refresh(self, name: str, *, by: str = "file change") -> None:
        """Load a model if other bytes lie there than those that serve; for a ``FileWatcher``, and so never raises."""
        entry = self._entry(name)
        held = entry.held
        if held is not None and self._store.still_holds(held.served.servable, entry.source):
            with self._lock:
                entry.reason = ""  # whatever was refused has gone again
            return
        self._try_load(name, by)

    def load(self, name: str, *, by: str = "") -> None:
        """Load a model, or swap it for what lies there now; returns when it serves and the old one is freed.

        Args:
            name: Of the model.
            by: Who asked for it, for the audit log.

        Raises:
            Refusal: There is none of that name (404).
            TinsmithError: It was refused, and whatever served before goes on.
        """
        entry = self._entry(name)
        with entry.changing:
            entry.begin_loading()
            try:
                served = self._prepare(entry, by)
            except Exception as error:
                self._refused(entry, error, by)
                raise
            self._watchdog.watch(served.pool)
            self._retire(entry, _Held(served))

    def unload(self, name: str, *, by: str = "") -> None:
        """Stop serving a model, once the requests that it has are answered; raises ``Refusal`` as ``load``."""
        entry = self._entry(name)
        with entry.changing:
            if entry.held is not None:
                self._record("unload", entry.held.served.servable, by)
                self._retire(entry, None)

    def close(self) -> None:
        """Unload everything, and remove the files."""
        for entry in self._entries.values():
            with entry.changing:
                self._retire(entry, None)
        self._watchdog.close()
        self._store.close()

    def _try_load(self, name: str, by: str) -> TinsmithError | None:
        """Why it was refused; logged, and in the index."""
        try:
            self.load(name, by=by)
        except TinsmithError as refusal:
            return refusal
        except Exception:  # noqa: BLE001 - a defect that one model brings out is not to stop the others
            _LOG.exception("%s can't be loaded", name)
        return None

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise Refusal(404, "unknown-model", f"there is no model {name!r}; there are: {', '.join(self._entries)}")
        return self._entries[name]

    def _hold(self, name: str, version: str | None) -> _Held:
        entry = self._entry(name)
        with self._lock:
            held = entry.held
            if held is None:
                state = entry.describe()
                said = f"{name} is {state.state.lower()}" + (f": {state.reason}" if state.reason else "")
                raise Refusal(503, "not-ready", said, retry_after_s=_RETRY_S)
            served = held.served.servable.version
            if version is not None and version != served:
                raise Refusal(404, "unknown-version", f"{name} is served in version {served}, not {version}")
            held.leases += 1
            return held

    def _prepare(self, entry: _Entry, by: str) -> Served:
        """A served model that has passed every check, and whose swap is logged; nothing is left of one that has not."""
        servable = self._store.open(entry.source)
        with contextlib.ExitStack() as undo:
            undo.callback(self._store.release, servable)
            entry.tried = servable.version
            if entry.held is not None and not entry.source.may_fall:
                _check_version(servable, entry.held.served.servable)
            try:
                self._vet(servable, entry.source.limits)
                served = self._open(servable, entry.source)
            except TinsmithError as error:
                raise named_as(entry.source, error, servable.path) from error
            undo.callback(served.close)
            self._record(entry.event, servable, by)
            undo.pop_all()
        return served

    def _open(self, servable: Servable, source: Source) -> Served:
        return open_served(
            servable,
            lambda: self._open_session(servable),
            limits=source.limits,
            watchers_of=lambda inputs: self._watchers_of(servable, inputs),
        )

    def _refused(self, entry: _Entry, error: Exception, by: str) -> None:
        reason = error.message if isinstance(error, TinsmithError) else first_line(error)
        _LOG.warning("%s was refused: %s", entry.source.name, reason)
        with self._lock:
            entry.reason = reason
            entry.state = _UNAVAILABLE if entry.held is None else _READY
            self._events[entry.source.name, "refusal"] += 1
        if self._audit is not None:
            try:
                self._audit.append("refusal", model=entry.source.name, version=entry.tried, reason=reason, by=by)
            except TinsmithError as failure:  # the refusal stands, and is what the caller must hear of
                _LOG.error("the refusal could not be logged: %s", failure.message)

    def _retire(self, entry: _Entry, fresh: _Held | None) -> None:
        """Let ``fresh`` serve instead; free the old one when its last lease has ended, or should have."""
        with self._lock:
            old, entry.held = entry.held, fresh
            entry.state, entry.reason = (_READY, "") if fresh else (_UNLOADING if old else _UNAVAILABLE, "unloaded")
            if old is not None:
                old.retire()
        if old is not None:
            self._free(old, entry.source)
        with self._lock:
            entry.state = _READY if entry.held else _UNAVAILABLE

    def _free(self, old: _Held, source: Source) -> None:
        served, limits = old.served, source.limits
        # of a lost model nothing is to be expected
        patience_s = _SLACK_S if served.pool.lost else limits.deadline_s + limits.time_limit_s + _SLACK_S
        if not old.drained.wait(patience_s):
            _LOG.warning("%s: %d requests of the old version still hang", source.name, old.leases)
        self._watchdog.forget(served.pool)
        served.close()
        self._store.release(served.servable)
        give_memory_back()

    def _record(self, event: str, servable: Servable, by: str) -> None:
        if self._audit is not None:
            self._audit.append(event, model=servable.name, version=servable.version, sha256=servable.sha256, by=by)
        with self._lock:
            self._events[servable.name, event] += 1


class _Held:
    """A served model, and how many hold on to it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.leases = 0
        self.drained = threading.Event()
        self._retired = False

    def retire(self) -> None:
        """Nobody new will hold on to it."""
        self._retired = True
        self._see()

    def leave(self) -> None:
        """One less holds on to it."""
        self.leases -= 1
        self._see()

    def _see(self) -> None:
        if self._retired and not self.leases:
            self.drained.set()


class _Entry:
    """What is known of one name; ``changing`` is held by the one who loads or unloads it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.changing = threading.Lock()
        self.held: _Held | None = None
        self.state = _UNAVAILABLE
        self.reason = "not loaded yet"
        self.tried = ""

    @property
    def event(self) -> str:
        """What a load that succeeds now is called."""
        return "load" if self.held is None else "swap"

    def begin_loading(self) -> None:
        self.tried = ""
        if self.held is None:
            self.state, self.reason = _LOADING, ""

    def describe(self) -> ModelState:
        if self.held is None:
            return ModelState(name=self.source.name, version=self.tried, state=self.state, reason=self.reason)
        served = self.held.served
        lost = served.pool.lost
        return ModelState(
            name=self.source.name,
            version=served.servable.version,
            state=self.state if lost is None else _UNAVAILABLE,
            reason=self.reason if lost is None else lost.message,
        )


def _check_version(fresh: Servable, serving: Servable) -> None:
    """Versions of bundles rise; a bare artifact has none of its own."""
    if not (fresh.version.isdecimal() and serving.version.isdecimal()):
        return
    rises = int(fresh.version) - int(serving.version)
    if rises < 0:
        raise VerificationError(
            f"version {fresh.version} of {fresh.name} is older than {serving.version}, which is served",
            hint="to go back, unload the model first, or bundle the old artifact anew with a higher version",
        )
    if not rises and fresh.sha256 != serving.sha256 and fresh.golden and serving.golden:
        raise VerificationError(
            f"version {fresh.version} of {fresh.name} is served, and these are other bytes under the same number",
            hint="bundle it with a higher version",
        )
