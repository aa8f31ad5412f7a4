"""What ``tinsmith init`` finds at what a user names, and the command that follows from the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.convert.data import open_dataset
from tinsmith.convert.inspection.report import ArtifactInspection, inspect_model
from tinsmith.runtime.errors import TinsmithError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Answers", "DataFound", "ModelFound", "guess_data", "guess_model", "look_at_data", "look_at_model"]

_MODELS = (".keras", ".h5", ".hdf5", ".onnx", ".tflite")
_DATA = ("data.yaml", "*.yaml", "*.npz", "*.csv", "*.jsonl")
# What `compress` can keep by itself; every other bound takes a search.
_LOSSES = ("max-drop", "max-class-drop", "min-agreement")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFound:
    """A model that can be compressed.

    Attributes:
        path: Where.
        format: One of the five.
        size_bytes: On disk.
        inputs: As far as its files say.
        outputs: As far as its files say.
    """

    path: Path
    format: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def text(self) -> str:
        """For people, in one line."""
        ends = " → ".join(", ".join(map(_spec_text, specs)) or "?" for specs in (self.inputs, self.outputs))
        return f"{self.format}, {self.size_bytes:,} bytes, {ends}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFound:
    """Samples that fit the model.

    Attributes:
        samples: How many.
        classes: How many labels they have between them; 0 where they have none, or numbers to predict.
    """

    samples: int
    classes: int

    @property
    def text(self) -> str:
        """For people, in one line."""
        return f"{self.samples:,} samples, {f'{self.classes} classes' if self.classes else 'no class labels'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the user wants.

    Attributes:
        model: To compress.
        format: Of it.
        data: As ``open_dataset`` takes it; None for none.
        device: A profile or a device of the inventory; None for this machine.
        bounds: What each option of a bound was given, by its name without dashes; empty bounds nothing.
    """

    model: Path
    format: str
    data: str | None = None
    device: str | None = None
    bounds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        """The recipe to begin with: all integers where there are samples, else weights alone."""
        return "int8" if self.data else "dynamic-int8"

    def command(self, recipe: str | None = None) -> tuple[str, ...]:
        """The command that does it: a search where anything is bounded, else the one recipe.

        Args:
            recipe: One to carry out, whatever is bounded; what only a search can keep is left out then.
        """
        if self.bounds and recipe is None:
            output = f"{self.model.stem}-search"
            return ("tinsmith", "search", *self._named, *self._bounded(*self.bounds), "-o", output)
        ending = "onnx" if self.format == "onnx" else "tflite"
        kept = self._bounded(*(name for name in _LOSSES if name in self.bounds))
        output = f"{self.model.stem}-small.{ending}"
        return ("tinsmith", "compress", *self._named, "-r", recipe or self.recipe, *kept, "-o", output)

    @property
    def searched_for(self) -> tuple[str, ...]:
        """The bounds that no single recipe keeps by itself."""
        return tuple(name for name in self.bounds if name not in _LOSSES)

    @property
    def _named(self) -> tuple[str, ...]:
        data = ("--data", self.data) if self.data else ()
        device = ("-d", self.device) if self.device else ()
        return (str(self.model), *data, *device)

    def _bounded(self, *names: str) -> tuple[str, ...]:
        return tuple(word for name in names for value in self.bounds[name] for word in (f"--{name}", value))


def look_at_model(path: Path) -> ModelFound:
    """See what a model is, without running it; raises as ``inspect_model``."""
    found = inspect_model(path)
    ends = found if isinstance(found, ArtifactInspection) else found.view
    return ModelFound(
        path=path, format=found.format, size_bytes=found.file_bytes, inputs=ends.inputs, outputs=ends.outputs
    )


def look_at_data(reference: str, model: ModelFound) -> DataFound:
    """Open samples, and hold their shapes against the model; raises as ``open_dataset``."""
    dataset = open_dataset(reference, model.inputs or None)
    labels = dataset.labels
    return DataFound(samples=len(dataset), classes=0 if labels is None else len(np.unique(labels)))


def guess_model(folder: Path) -> str | None:
    """The only model in a folder; None where there are several, or none."""
    found = [path.name for path in sorted(folder.iterdir()) if path.suffix in _MODELS]
    return found[0] if len(found) == 1 else None


def guess_data(folder: Path, model: ModelFound) -> str | None:
    """The first samples in a folder that fit the model; None where none do."""
    for pattern in _DATA:
        for path in sorted(folder.glob(pattern)):
            if _fits(path.name, model):
                return path.name
    return None


def _fits(name: str, model: ModelFound) -> bool:
    try:
        look_at_data(name, model)
    except TinsmithError:
        return False
    return True


def _spec_text(spec: TensorSpec) -> str:
    sides = ", ".join("?" if side is None else str(side) for side in spec.shape)
    return f"{spec.name} {spec.dtype}[{sides}]"
