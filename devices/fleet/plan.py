"""The plan of a rollout: what goes where, in which waves, and what is allowed; it is kept to when a rollout goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.devices.flashing.flash import Cargo, Permissions
from tinsmith.devices.fleet.waves import Wave

if TYPE_CHECKING:
    from typing_extensions import Self

    from tinsmith.runtime.fields import Fields

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a rollout is to do.

    Attributes:
        cargo: The bundle, with an absolute path.
        devices: Names, in the order in which they are listed.
        waves: The same devices, in the order in which they are flashed.
        permissions: Of each flash.
        forced: Checks that are left out before anything is sent.
        max_failures_percent: More of a wave than this may not fail, or the rollout stops.
        parallel: How many devices are flashed at once.
    """

    cargo: Cargo
    devices: tuple[str, ...]
    waves: tuple[Wave, ...]
    permissions: Permissions
    forced: tuple[str, ...] = ()
    max_failures_percent: float
    parallel: int

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        cargo = {**asdict(self.cargo), "path": str(self.cargo.path)}
        waves = [{"title": wave.title, "devices": list(wave.devices)} for wave in self.waves]
        return {**asdict(self), "cargo": cargo, "waves": waves}

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """From a journal."""
        waves = (Wave(title=one.text("title"), devices=one.names("devices")) for one in fields.many("waves"))
        return cls(
            cargo=_cargo(fields.table("cargo")),
            devices=fields.names("devices"),
            waves=tuple(waves),
            permissions=_permissions(fields.table("permissions")),
            forced=fields.names("forced"),
            max_failures_percent=fields.number("max_failures_percent", least=0),
            parallel=fields.count("parallel"),
        )


def _cargo(fields: Fields) -> Cargo:
    path, sha256 = Path(fields.text("path")), fields.sha256("sha256")
    return Cargo(path=path, sha256=sha256, name=fields.text("name"), version=fields.count("version"))


def _permissions(fields: Fields) -> Permissions:
    return Permissions(
        unsigned=fields.flag("unsigned"),
        downgrade=fields.flag("downgrade"),
        window_s=fields.number("window_s", least=0),
        time_limit_s=fields.number("time_limit_s", least=0),
    )
