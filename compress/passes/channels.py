"""Structured pruning: whole channels go, and every shape shrinks with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from tinsmith.compress.passes.base import Effects, Needs, Step
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.compress.structure.coupling import Coupling
    from tinsmith.compress.structure.spaces import Space
    from tinsmith.compress.training.workshop import Transformed, Workshop
    from tinsmith.convert.data import Batch
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Channels", "ChannelsStep"]

_BATCH = 64


class ChannelsStep(Step):
    """Take whole channels out, refit what reads them by least squares, and measure batch norm again."""

    kind: Literal["channels"] = "channels"
    macs: float | None = Field(default=None, gt=0, lt=1, description="Share of the multiply-accumulates that stay.")
    ratio: float | None = Field(
        default=None, gt=0, lt=1, description="Share of the channels that go, the same everywhere."
    )
    widths: dict[str, PositiveInt] | None = Field(
        default=None,
        min_length=1,
        description="Channels that stay, by the name of a layer that makes them; where none is named, all stay.",
    )
    importance: Literal["l1", "bn-scale", "taylor"] = "l1"
    allocation: Literal["uniform", "sensitivity"] = Field(
        default="uniform", description="The same share everywhere, or more where measuring shows that it harms less."
    )
    multiple: int = Field(
        default=1,
        ge=1,
        description="Channels that stay come in multiples of this, which SIMD kernels compute at once; 8 suits most.",
    )
    samples: int = Field(default=1024, ge=1, description="That the least-squares fit and the sensitivities run on.")

    @model_validator(mode="after")
    def _one_goal(self) -> ChannelsStep:
        if [self.macs, self.ratio, self.widths].count(None) != 2:
            message = "give one of macs, ratio and widths"
            raise ValueError(message)
        if self.allocation == "sensitivity" and self.macs is None:
            message = "allocation: sensitivity goes with macs"
            raise ValueError(message)
        return self

    @property
    def needs(self) -> Needs:
        """Samples for the fit; labels for gradients alone."""
        return Needs(data=True, labels=self.importance == "taylor")

    @property
    def effects(self) -> Effects:
        """Everything shrinks, and the answers move."""
        return Effects(
            moves=frozenset(["file", "zip", "flash", "ram", "latency", "accuracy"]),
            remark="follow it by distill, which takes most of the accuracy back",
        )


class Channels(TrainedPass):
    """Channels of a functional model that no other layer needs."""

    kind: ClassVar[str] = "channels"
    reads = ChannelsStep
    undoes = frozenset(["sparse", "clustered"])
    degrades = True

    def transform(self, model: TrainedModel, shop: Workshop) -> Transformed:
        """Choose, rebuild, refit, and measure batch norm again.

        Raises:
            UnsupportedOperatorError: There is no channel that could go.
            BudgetMissedError: The budget can't be reached.
            RecipeError: Widths are wanted that the model does not have.
        """
        from tinsmith.compress.structure.coupling import couple
        from tinsmith.compress.structure.flattening import functional
        from tinsmith.compress.structure.rebuild import rebuild
        from tinsmith.compress.structure.reconstruction import reconstruct
        from tinsmith.compress.structure.spaces import Costs, spaces_of
        from tinsmith.compress.training.workshop import Transformed, as_trained

        full = as_trained(functional(model.native))
        coupling = couple(full.native)
        dropped = self._chosen(coupling, full, shop)
        small = as_trained(rebuild(full.native, coupling, dropped))

        def kept(name: str) -> Any:
            roots = coupling.roots(coupling.layers[name].given)
            return [at for at, root in enumerate(roots) if int(root) not in dropped]

        copied = shop.judge(small)
        refitted = reconstruct(full, small, kept, lambda: self._batches(shop))
        shop.recalibrate(small)
        costs = Costs(coupling)
        measured: dict[str, float | str] = {
            "macs before": costs.macs(()),
            "macs after": costs.macs(dropped),
            "parameters before": int(full.native.count_params()),
            "parameters after": int(small.native.count_params()),
            "widths": "; ".join(_width(space, dropped) for space in spaces_of(coupling)),
            "layers refitted": len(refitted),
            "went around": "; ".join(f"{name}: {why}" for name, why in coupling.followed_not.items()) or "nothing",
        }
        measured |= shop.scored("of copies", copied) | shop.scored("refitted", shop.judge(small))
        return Transformed(model=small.native, modified=True, measured=measured)

    def _chosen(self, coupling: Coupling, full: TrainedModel, shop: Workshop) -> set[int]:
        from tinsmith.compress.structure.allocation import by_macs, by_ratio, by_sensitivity, by_widths
        from tinsmith.compress.structure.importance import importances
        from tinsmith.compress.structure.sensitivity import Harm
        from tinsmith.compress.structure.spaces import Costs, spaces_of

        step = self._step
        spaces = spaces_of(coupling)
        if not spaces:
            reasons = "; ".join(f"{name}: {why}" for name, why in coupling.followed_not.items())
            raise UnsupportedOperatorError(
                f"no channel of this model can go ({reasons or 'all of them are inputs or outputs'})",
                hint="magnitude, clusters and quantize work on any layer",
            )
        scores = importances(step.importance, coupling, full, lambda: self._batches(shop))
        if step.widths is not None:
            return by_widths(spaces, scores, step.widths)
        if step.ratio is not None:
            return by_ratio(spaces, scores, step.ratio, step.multiple)
        budget = step.macs or 1.0
        if step.allocation == "uniform":
            return by_macs(spaces, scores, Costs(coupling), budget, step.multiple)
        harm = Harm(coupling, full, lambda: self._batches(shop))
        return by_sensitivity(spaces, scores, Costs(coupling), budget, harm, step.multiple)

    @property
    def _step(self) -> ChannelsStep:
        assert isinstance(self._settings, ChannelsStep)
        return self._settings

    def _batches(self, shop: Workshop) -> Iterator[Batch]:
        """The same few samples each time, mixed."""
        left = self._step.samples
        for batch in shop.train.mixed_batches(_BATCH, seed=shop.seed, epoch=0):
            yield batch
            left -= _BATCH
            if left <= 0:
                return


def _width(space: Space, dropped: set[int]) -> str:
    """For the report."""
    return f"{space.name}: {len(set(space.roots) - dropped)} of {len(space.roots)}"
