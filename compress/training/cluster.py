"""Which machines train together, as TensorFlow's own variable ``TF_CONFIG`` says it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field, ValidationError

from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TIMEOUT_VARIABLE", "Cluster"]

TIMEOUT_VARIABLE = "TINSMITH_WORKERS_TIMEOUT_S"

# The slowest worker may judge and load this much longer than the fastest.
_USUAL_TIMEOUT_S = 600.0
_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:4711", "10.0.0.2:4711"]}, "task": {"type": "worker", "index": 0}}'


class _Task(BaseModel):
    type: Literal["chief", "worker"] = "worker"
    index: int = Field(ge=0)


class _Config(BaseModel):
    cluster: dict[str, list[str]] = {}
    task: _Task | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Who trains together.

    Attributes:
        addresses: ``host:port`` of each worker, two or more; the same on all of them.
        index: Which of them is this one, from 0.
        timeout_s: How long the others are waited for, whenever they are.
    """

    addresses: tuple[str, ...]
    index: int
    timeout_s: float

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Cluster | None:
        """Read ``TF_CONFIG`` and ``TINSMITH_WORKERS_TIMEOUT_S``; None where fewer than two workers are named.

        A ``chief`` is the first of the workers, as it is for TensorFlow.

        Raises:
            UsageError: They say something that can't be.
        """
        said = environment.get("TF_CONFIG", "").strip()
        config = _parsed(said) if said else _Config()
        chiefs = config.cluster.get("chief", [])
        addresses = (*chiefs, *config.cluster.get("worker", []))
        if len(addresses) < 2:
            return None
        if config.task is None:
            raise _wrong(f"names {len(addresses)} workers, but no task: which of them this one is")
        names = chiefs if config.task.type == "chief" else addresses[len(chiefs) :]
        if config.task.index >= len(names):
            raise _wrong(
                f"says that this is {config.task.type} {config.task.index}, counted from 0, but names {len(names)}"
            )
        _check_addresses(addresses)
        index = config.task.index + (0 if config.task.type == "chief" else len(chiefs))
        return cls(addresses=addresses, index=index, timeout_s=_timeout_s(environment.get(TIMEOUT_VARIABLE)))

    @property
    def port(self) -> int:
        """Where this worker listens."""
        return _port_of(self.addresses[self.index])


def _parsed(said: str) -> _Config:
    try:
        return _Config.model_validate_json(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _wrong(f"can't be read: {where + ': ' if where else ''}{first['msg']}") from error


def _check_addresses(addresses: tuple[str, ...]) -> None:
    for address in addresses:
        host, _, _ = address.rpartition(":")
        if not host or not 0 < _port_of(address) < 2**16:
            raise _wrong(f"names the worker {address!r}, which is no host:port")
    if len(set(addresses)) < len(addresses):
        raise _wrong("names a worker twice")


def _port_of(address: str) -> int:
    digits = address.rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _timeout_s(said: str | None) -> float:
    if not said:
        return _USUAL_TIMEOUT_S
    try:
        timeout_s = float(said)
    except ValueError:
        timeout_s = math.nan
    if not 1 <= timeout_s < math.inf:
        raise UsageError(f"{TIMEOUT_VARIABLE} is {said!r}", hint="give seconds, 1 or more")
    return timeout_s


def _wrong(what: str) -> UsageError:
    return UsageError(f"TF_CONFIG {what}", hint=f"give such as {_EXAMPLE}, or unset it to train with one worker")
