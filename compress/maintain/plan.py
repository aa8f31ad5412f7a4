"""Maintenance plans: what is kept good on which devices, when something is to be done, and what it may cost."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from tinsmith.compress.budget import Budget, share_of
from tinsmith.compress.maintain.ports import Orders
from tinsmith.convert.documents import mistakes, read_mapping
from tinsmith.runtime.errors import UsageError
from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.monitor.client import MonitorAddress
from tinsmith.runtime.seeds import LARGEST_SEED

if TYPE_CHECKING:
    from tinsmith.compress.recipe import Recipe

__all__ = ["EXAMPLE", "ActOn", "BudgetSettings", "BundleSettings", "MaintenancePlan", "RolloutSettings", "load_plan"]

_HINT = "`tinsmith maintain --example` prints a whole plan"

EXAMPLE = """\
# What `tinsmith maintain` does, and when. Paths are seen from this file.
version: 1
model: model.keras             # what is compressed again, by the same recipe and seed
recipe: int8
data: data.yaml                # labelled; what is captured on devices joins its calibration samples
seed: 0

devices: [shop]                # devices, groups, tags: all of them get the new bundle
monitors:                      # where the servers of some or all of them answer
  kitchen: http://10.0.0.7:8080
served_as: app                 # as the servers name the model
# token_file: monitor.token    # sent as bearer token
quorum: 50%                    # fewer monitors, captures or flashed devices than this end a run; others are listed

act_on:
  drift: true
  slow: true                   # slower than the bundle promises
  # p95_ms: 12                 # or than this
  share: 0%                    # of the monitors that answer, so many must call; 0% is any

budget:                        # held on labelled samples that nothing learned from; a miss deploys nothing
  max_drop: 0.5%
  min_agreement: 97%           # with the model; on what was captured as well

bundle:
  current: app.tin             # what devices serve; its name, settings and postprocessing are kept, its version rises
  key: team.key
  # password_file: team.password

rollout:
  canary: "1"
  watch_s: 60                  # then the canary's monitors are looked at once more
  waves: 10%,50%,100%
  max_failures: 10%
  window_s: 10

work: maintained               # the journal, and what each round made
"""


def _beside(path: Path, info: ValidationInfo) -> Path:
    return Path(info.context["folder"]) / path if info.context else path


def _beside_if_there(reference: str, info: ValidationInfo) -> str:
    """A reference to samples or a recipe may be no path."""
    beside = _beside(Path(reference), info)
    return str(beside) if beside.exists() else reference


def _share(item: Any) -> float:
    try:
        return share_of(str(item))
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


_Beside = Annotated[Path, AfterValidator(_beside)]
_Reference = Annotated[str, AfterValidator(_beside_if_there)]
_Share = Annotated[float, BeforeValidator(_share)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class ActOn(_Settings):
    """What calls for a new bundle.

    Attributes:
        drift: That inputs or outputs drift.
        slow: That a model is slower than its bundle promises.
        p95_ms: That 95 of 100 runs take longer than this; None for no such bound.
        share: Of the monitors that answer, so many must call, 0 to 1; 0 is any.
    """

    drift: bool = True
    slow: bool = True
    p95_ms: float | None = Field(default=None, gt=0)
    share: _Share = 0.0


class BudgetSettings(_Settings):
    """What the new artifact may cost; see ``Budget``."""

    max_drop: _Share | None = None
    max_class_drop: _Share | None = None
    min_agreement: _Share | None = None


class BundleSettings(_Settings):
    """Which bundle is kept good.

    Attributes:
        current: What devices serve; replaced when a new one was rolled out.
        key: Signs; None where the current one is not signed.
        password_file: The key's password is its first line.
        encryption_key: Of the current bundle and the new one; None for bundles in the clear.
    """

    current: _Beside
    key: _Beside | None = None
    password_file: _Beside | None = None
    encryption_key: _Beside | None = None


class RolloutSettings(_Settings):
    """How a bundle goes to devices; see ``Orders``.

    Attributes:
        watch_s: After so many seconds the canary's monitors are looked at once more.
    """

    canary: str = "1"
    watch_s: float = Field(default=0.0, ge=0)
    waves: str = "100%"
    max_failures: str = "50%"
    parallel: int = Field(default=8, ge=1)
    window_s: float = Field(default=10.0, ge=0)


class MaintenancePlan(_Settings):
    """What stands in the file of a plan.

    Attributes:
        version: Of this file format.
        model: What is compressed.
        recipe: A built-in one, or a .yaml file.
        data: Labelled samples, as ``--data`` takes them.
        metric: What judges; None for the usual one.
        seed: Of all chance.
        devices: Devices, groups, tags.
        monitors: The address of its server by the name of a device.
        served_as: The model's name there; empty for the only one that a server has.
        token_file: Of the servers; None for none.
        ca_file: Of the servers; None for the system's.
        quorum: Share of monitors that must answer, of captures that must be pulled, and of devices that must be
            flashed, 0 to 1.
        act_on: What calls for a new bundle.
        budget: What it may cost.
        bundle: Which one is kept good.
        rollout: How it goes to devices.
        work: The folder of the journal and of what each round made.
        keep_captured: Whether samples of devices stay when a round has ended.
    """

    version: Literal[1]
    model: _Beside
    recipe: _Reference
    data: _Reference
    metric: str | None = None
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    devices: tuple[str, ...] = Field(min_length=1)
    monitors: dict[str, str] = Field(min_length=1)
    served_as: str = ""
    token_file: _Beside | None = None
    ca_file: _Beside | None = None
    quorum: _Share = 0.5
    act_on: ActOn = ActOn()
    budget: BudgetSettings
    bundle: BundleSettings
    rollout: RolloutSettings = RolloutSettings()
    work: _Beside
    keep_captured: bool = False

    @property
    def bounds(self) -> Budget:
        """What the new artifact may cost."""
        return Budget(**self.budget.model_dump())

    @property
    def orders(self) -> Orders:
        """How it goes to devices."""
        said = self.rollout.model_dump(exclude={"watch_s"})
        return Orders(**said, unsigned=self.bundle.key is None)

    def address_of(self, device: str) -> MonitorAddress:
        """Where the monitor of a device answers; raises ``KeyError`` where it has none."""
        return MonitorAddress(
            url=self.monitors[device], model=self.served_as, token_file=self.token_file, ca_file=self.ca_file
        )

    def digest(self, recipe: Recipe) -> str:
        """Names what a round is about, as 64 hex digits: this plan, its recipe and its model."""
        files = sha256_of(self.model) if self.model.exists() else ""
        said = (self.model_dump_json(), recipe.model_dump_json(), files)
        return hashlib.sha256("\n".join(said).encode()).hexdigest()


def load_plan(path: Path) -> MaintenancePlan:
    """Read a plan; its paths are seen from the file.

    Raises:
        UsageError: It is no YAML, holds an unknown key or a wrong value (says where), or bounds nothing.
    """
    document = read_mapping(path, what="maintenance plan", holds="version, model, recipe and so on", error=UsageError)
    try:
        plan = MaintenancePlan.model_validate(document, context={"folder": path.parent.absolute()})
    except ValidationError as error:
        raise UsageError(mistakes(document, path, error), hint=_HINT) from None
    if not plan.bounds.bounds:
        raise UsageError(f"{path}: the budget bounds nothing, so that any model would be deployed", hint=_HINT)
    return plan
