"""A device: one reachable thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinsmith.runtime.profile import Profile

__all__ = ["Device"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A profile and an address, by a name of the user's.

    Attributes:
        name: As ``--device`` takes it.
        profile: What it can do.
        profile_name: As ``load_profile`` takes it: a built-in name or alias, or the path of a file.
        address: How it is reached: ``local``, ``ssh://pi@10.0.0.7``, ``adb:SERIAL``.
        groups: Names that stand for several devices at once.
        tags: Words about it, by which it can be named as well.
        host_key: The host key that it must show, as ``ssh-keygen -l`` prints its fingerprint; empty where the user's
            known hosts decide.
        base: The folder on the device that everything goes into; empty for the usual one.
        trust: Files with public keys whose bundles a phone shall take; other devices keep their own.
        runner: The program on a phone that runs a model; empty for ``benchmark_model`` in its base folder, if there.
    """

    name: str
    profile: Profile
    profile_name: str
    address: str
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    host_key: str = ""
    base: str = ""
    trust: tuple[str, ...] = ()
    runner: str = ""

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "name": self.name,
            "profile": self.profile.name,
            "address": self.address,
            "groups": list(self.groups),
            "tags": list(self.tags),
            "host_key": self.host_key,
            "base": self.base,
            "trust": list(self.trust),
            "runner": self.runner,
        }
