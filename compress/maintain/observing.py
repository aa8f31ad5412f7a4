"""Looking at devices: what their monitors say, in the few figures that a decision needs. Nothing is changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tinsmith.compress.maintain.results import DeviceLook, Drifted, Observed
from tinsmith.runtime.errors import DeviceError, TinsmithError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.compress.maintain.plan import MaintenancePlan
    from tinsmith.compress.maintain.ports import Collecting

__all__ = ["look_of", "look_on", "observe", "short_of"]

_AT_ONCE = 16
_MOST_DRIFTED = 32


def observe(plan: MaintenancePlan, collecting: Collecting, devices: Sequence[str]) -> Observed:
    """Ask the monitors of devices; one that does not answer is listed.

    Args:
        plan: Where they answer.
        collecting: Who asks.
        devices: Whose; those without a monitor are left out.

    Raises:
        DeviceError: Fewer answer than the plan's quorum.
    """
    names = [device for device in plan.monitors if device in devices]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        found = Observed(devices=tuple(pool.map(lambda device: look_on(plan, collecting, device), names)))
    if short_of(len(found.answered), len(names), quorum=plan.quorum):
        silent = "; ".join(f"{look.device}: {look.error}" for look in found.devices if look.error)
        raise DeviceError(
            f"{len(found.answered)} of {len(names)} monitors answer, and {plan.quorum:.0%} are asked for: {silent}",
            hint="see that they run, or lower the plan's quorum",
        )
    return found


def short_of(count: int, of: int, *, quorum: float) -> bool:
    """Whether so many are fewer than a share of all; none is always too few."""
    return count < quorum * of or (count == 0 and of > 0)


def look_on(plan: MaintenancePlan, collecting: Collecting, device: str) -> DeviceLook:
    """What the monitor of one device says, or why it says nothing; raises ``UsageError`` where it is asked wrongly."""
    try:
        return look_of(device, collecting.look(plan.address_of(device)))
    except UsageError:
        raise
    except TinsmithError as error:
        return DeviceLook(device=device, error=error.message, exit_code=error.exit_code)
    except (KeyError, TypeError, ValueError, AttributeError):  # whatever answers there, it is none of ours
        said = "its monitor does not answer as a server of tinsmith's"
        return DeviceLook(device=device, error=said, exit_code=DeviceError.exit_code)


def look_of(device: str, document: dict[str, Any]) -> DeviceLook:
    """The figures of one monitor document."""
    version = document.get("version", "")
    served = int(version) if isinstance(version, str) and version.isdecimal() else None
    if "drift" not in document:
        why = document.get("reason") or document.get("state")
        error = f"{document['model']} does not serve: {why}"
        return DeviceLook(device=device, version=served, error=error, exit_code=DeviceError.exit_code)
    drift, latency, errors = document["drift"], document["latency"], document["errors"]
    capture = document.get("capture") or {}
    return DeviceLook(
        device=device,
        version=served,
        drift=drift["state"],
        samples=drift.get("samples", 0),
        drifted=_drifted(drift["statistics"]),
        latency=latency["state"],
        p50_ms=latency["p50_ms"],
        p95_ms=latency.get("p95_ms"),
        errors=errors["state"],
        faults=errors["faults"],
        captured=capture.get("samples", 0),
        capture_path=capture.get("path", ""),
    )


def _drifted(statistics: list[dict[str, Any]]) -> tuple[Drifted, ...]:
    found = [
        Drifted(
            name=" ".join(str(one[key]) for key in ("side", "tensor", "statistic", "test")),
            figure=one["figure"],
            threshold=one["threshold"],
        )
        for one in statistics
        if one["drifted"]
    ]
    return tuple(sorted(found, key=lambda one: -one.times)[:_MOST_DRIFTED])
