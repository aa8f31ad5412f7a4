"""Weight clustering: a few shared values a layer, which zip to a fraction."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tinsmith.compress.passes.base import Effects
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.compress.training.settings import TrainingStep
from tinsmith.runtime.errors import VerificationError

if TYPE_CHECKING:
    from tinsmith.compress.training.clustering import Clustering
    from tinsmith.compress.training.workshop import Transformed, Workshop
    from tinsmith.convert.trained import TrainedModel

__all__ = ["Clusters", "ClustersStep"]


class ClustersStep(TrainingStep):
    """Let all weights of a layer share a few values, and train those."""

    kind: Literal["clusters"] = "clusters"
    clusters: int = Field(default=16, ge=3, le=256, description="Values that the weights of a layer share.")
    learning_rate: float = Field(default=5e-4, gt=0, description="At its peak; a cosine takes it to 0.")
    skip: tuple[str, ...] = Field(default=(), description="Names of layers that keep weights of their own.")
    teacher_weight: float = Field(default=0.9, ge=0, le=1, description="Share of the loss that the teacher gives.")

    @property
    def effects(self) -> Effects:
        """Few values zip well, and that is all."""
        return Effects(
            moves=frozenset(["zip", "accuracy"]),
            remark="a .tflite and .onnx file stores shared values like any number; int8 keeps them shared",
        )


class Clusters(TrainedPass):
    """tfmot's clustering (Han, Mao & Dally 2016, Deep Compression), layer by layer; zeros of earlier steps are kept."""

    kind: ClassVar[str] = "clusters"
    reads = ClustersStep
    degrades = True
    makes = frozenset(["clustered"])

    def transform(self, model: TrainedModel, shop: Workshop) -> Transformed:
        """Bring all channels of a layer to one scale, cluster, train, and count.

        Raises:
            UnsupportedOperatorError: tfmot knows none of the layers.
            VerificationError: There are more values than asked for in the end, or fewer zeros than before.
        """
        from tinsmith.compress.training.clustering import Clustering
        from tinsmith.compress.training.workshop import Shaping, Transformed

        step = self._step
        clustering = Clustering.of(model, clusters=step.clusters, skip=step.skip, pruned="sparse" in shop.task.made)
        measured = shop.fit(clustering.wrapped, step, shaping=Shaping.holding(clustering.held()))
        stripped = clustering.stripped()
        shop.recalibrate(stripped)
        return Transformed(
            model=stripped.native, modified=True, measured={**measured, **self._asserted(clustering, stripped)}
        )

    def _asserted(self, clustering: Clustering, stripped: TrainedModel) -> dict[str, float | str]:
        """Hold the stripped model to what was asked, value by value."""
        counts = clustering.distinct_values(stripped)
        loud = [name for name, count in counts.items() if count > self._step.clusters]
        if loud:
            raise VerificationError(
                f"layer {loud[0]!r} should hold {self._step.clusters} values, and holds {counts[loud[0]]}",
                hint="report it: tfmot has lost the clusters",
            )
        lost = clustering.lost_zeros(stripped)
        if lost:
            raise VerificationError(
                f"layer {lost!r} has lost zeros of an earlier step", hint="report it with the recipe"
            )
        return {
            "layers clustered": len(counts),
            "values a layer": max(counts.values()),
            "left alone": "; ".join(f"{name}: {why}" for name, why in clustering.left_alone.items()) or "nothing",
        }

    @property
    def _step(self) -> ClustersStep:
        assert isinstance(self._settings, ClustersStep)
        return self._settings
