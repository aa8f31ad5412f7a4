"""The options of every command that trains, or whose course trackers keep."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.compress.training.tracking import Trackers

    Decorated = Callable[..., Any]

__all__ = ["tracker_options", "training_options"]


def tracker_options(each: str) -> Callable[[Decorated], Decorated]:
    """``--tensorboard``, ``--mlflow`` and ``--wandb``, as the one argument ``trackers``.

    Args:
        each: What they keep, such as "training".
    """

    def decorated(function: Decorated) -> Decorated:
        @click.option("--tensorboard", metavar="DIR", help=f"Write each {each} as TensorBoard's event files.")
        @click.option("--mlflow", metavar="URI", help=f"Keep each {each} as a run of MLflow: sqlite:///runs.db.")
        @click.option("--wandb", metavar="DIR", help=f"Keep each {each} as an offline run of Weights & Biases.")
        @functools.wraps(function)
        def told(*args: Any, **kwargs: Any) -> Any:
            from tinsmith.compress.training.tracking import Trackers

            trackers = Trackers(**{name: kwargs.pop(name) for name in ("tensorboard", "mlflow", "wandb")})
            return function(*args, trackers=trackers, **kwargs)

        command: Decorated = told
        return command

    return decorated


def training_options(function: Decorated) -> Decorated:
    """``--resume`` and the options of trackers, as the one argument ``training``.

    Who watches is part of it: a bar on stderr, or lines in the log.
    """

    @click.option("--resume", is_flag=True, help="Go on where a killed run stood, to the same bytes.")
    @tracker_options("training")
    @functools.wraps(function)
    def told(*args: Any, resume: bool, trackers: Trackers, **kwargs: Any) -> Any:
        from tinsmith.compress.commands.progress import Progress
        from tinsmith.compress.compression import Training

        training = Training(resume=resume, watcher=Progress(), trackers=trackers)
        return function(*args, training=training, **kwargs)

    command: Decorated = told
    return command
