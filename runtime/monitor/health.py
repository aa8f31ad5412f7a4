"""Whether a served model is as fast as its bundle promised, and how often it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tinsmith.runtime.monitor.distributions import binomial_tail
from tinsmith.runtime.timing import median, percentile

if TYPE_CHECKING:
    from tinsmith.runtime.server.statistics import Snapshot

__all__ = ["FAULTS", "Promise", "describe_errors", "describe_latency"]

# What the server or the model is to blame for; other reasons are the client's requests.
FAULTS = frozenset({"busy", "deadline", "defect", "engine", "lost", "not-ready", "queue-full", "time-limit"})
# A device under another load, in a warmer room, is no slower model: processes alone differ by 7 to 14 %.
_ALLOWED = 1.25
_CHANCE = 0.01
_ERROR_RATE = 0.01
_LEAST_RUNS = 11


class Promise(Protocol):
    """How long a run takes, as measured when the bundle was made."""

    @property
    def p50_ms(self) -> float | None:
        """Half of the runs take no longer; None where nobody promised it."""
        ...

    @property
    def p90_ms(self) -> float | None:
        """Nine of ten runs take no longer; None where nobody promised it."""
        ...


def describe_latency(snapshot: Snapshot, promise: Promise | None) -> dict[str, Any]:
    """Hold the recent runs to the promise.

    A quarter more than promised is allowed. ``slow`` means that more runs took longer than that than chance explains:
    were the promise kept, that many would be seen once in a hundred looks (binomial).

    Returns:
        ``state`` (``ok``, ``slow``, ``waiting`` for 11 runs, ``no-promise``), ``runs``, ``p50_ms``, ``p90_ms``,
        ``p95_ms`` (None where there are too few runs for it), ``promised_p50_ms``, ``promised_p90_ms``, ``allowed``
        (times the promise).
    """
    runs_ms = [entry / 1e6 for entry in snapshot.recent if isinstance(entry, int)]
    promised = {50.0: promise.p50_ms, 90.0: promise.p90_ms} if promise is not None else {}
    made = {percent: ms for percent, ms in promised.items() if ms}
    if not made:
        state = "no-promise"
    elif len(runs_ms) < _LEAST_RUNS:
        state = "waiting"
    else:
        slow = any(_is_slow(runs_ms, percent, ms, len(made)) for percent, ms in made.items())
        state = "slow" if slow else "ok"
    return {
        "state": state,
        "runs": len(runs_ms),
        "p50_ms": median(runs_ms) if len(runs_ms) >= _LEAST_RUNS else None,
        "p90_ms": percentile(runs_ms, 90),
        "p95_ms": percentile(runs_ms, 95),
        "promised_p50_ms": promised.get(50.0),
        "promised_p90_ms": promised.get(90.0),
        "allowed": _ALLOWED,
    }


def _is_slow(runs_ms: list[float], percent: float, promised_ms: float, promises: int) -> bool:
    over = sum(ms > _ALLOWED * promised_ms for ms in runs_ms)
    return binomial_tail(over, len(runs_ms), 1 - percent / 100) < _CHANCE / promises


def describe_errors(snapshot: Snapshot) -> dict[str, Any]:
    """Count failures that are no fault of the client's, among the recent requests.

    Returns:
        ``state`` (``errors`` where more of them failed than 1 % and chance explain, else ``ok``), ``requests`` and
        ``faults`` among the recent ones, ``rate``, and ``failures`` by reason since the model was loaded, those of
        clients among them.
    """
    requests = [entry for entry in snapshot.recent if isinstance(entry, int) or entry in FAULTS]
    faults = sum(isinstance(entry, str) for entry in requests)
    beyond = faults > _ERROR_RATE * len(requests) and binomial_tail(faults, len(requests), _ERROR_RATE) < _CHANCE
    return {
        "state": "errors" if beyond else "ok",
        "requests": len(requests),
        "faults": faults,
        "rate": faults / len(requests) if requests else None,
        "failures": dict(sorted(snapshot.failures.items())),
    }
