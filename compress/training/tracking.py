"""Where the course of a training is written, besides the screen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Trackers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trackers:
    """Experiment trackers; nothing is sent anywhere unless the user names a server.

    Attributes:
        tensorboard: The folder for TensorBoard's event files; None for none.
        mlflow: A tracking address such as ``sqlite:///runs.db``; None for none.
        wandb: The folder for offline runs of Weights & Biases; None for none.
    """

    tensorboard: str | None = None
    mlflow: str | None = None
    wandb: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For the process that trains."""
        return asdict(self)
