"""Latencies that somebody has published for a device: shown beside what was measured, never mixed with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinsmith.devices.device import Device
    from tinsmith.runtime.profile import Reference

__all__ = ["Published", "published_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is published for a device.

    Attributes:
        device: Its name.
        profile: The name of its profile.
        references: Of the models that were measured, as far as their files' names tell; of all where none tells.
        named: Whether the files' names told.
    """

    device: str
    profile: str
    references: tuple[Reference, ...]
    named: bool

    def to_json(self) -> list[dict[str, Any]]:
        """For reports; each says that it was published, and where."""
        return [
            {
                "device": self.device,
                "profile": self.profile,
                "model": r.model,
                "precision": r.precision,
                "size": r.size,
                "value_ms": r.value_ms,
                "statistic": r.statistic,
                "runtime": r.runtime,
                "threads": r.threads,
                "accelerator": r.accelerator,
                "remark": r.remark,
                "trust": r.source.trust,
                "where": r.source.where,
                "date": r.source.date,
            }
            for r in self.references
        ]


def published_for(device: Device, artifacts: Iterable[str]) -> Published | None:
    """What is published for a device about artifacts, by the names of their files; None where nothing is at all."""
    references = device.profile.references
    if not references:
        return None
    names = [_plain(artifact) for artifact in artifacts]
    about = tuple(r for r in references if any(_plain(r.model) in name for name in names))
    profile = device.profile.name
    return Published(device=device.name, profile=profile, references=about or references, named=bool(about))


def _plain(name: str) -> str:
    """``MobileNet v2`` and ``mobilenet_v2_int8.tflite`` have a beginning in common then."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
