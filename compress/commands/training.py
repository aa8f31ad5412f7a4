"""The options of every command that trains."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["training_options"]


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--resume``, ``--tensorboard``, ``--mlflow`` and ``--wandb``, as the one argument ``training``.

    Who watches is part of it: a bar on stderr, or lines in the log.
    """

    @click.option("--resume", is_flag=True, help="Go on where a killed run stood, to the same bytes.")
    @click.option("--tensorboard", metavar="DIR", help="Write each training's course as TensorBoard's event files.")
    @click.option("--mlflow", metavar="URI", help="Keep each training as a run of MLflow: sqlite:///runs.db.")
    @click.option("--wandb", metavar="DIR", help="Keep each training as an offline run of Weights & Biases.")
    @functools.wraps(function)
    def told(*args: Any, resume: bool, **kwargs: Any) -> Any:
        from tinsmith.compress.commands.progress import Progress
        from tinsmith.compress.compression import Training
        from tinsmith.compress.training.tracking import Trackers

        trackers = Trackers(**{name: kwargs.pop(name) for name in ("tensorboard", "mlflow", "wandb")})
        training = Training(resume=resume, watcher=Progress(), trackers=trackers)
        return function(*args, training=training, **kwargs)

    return told
