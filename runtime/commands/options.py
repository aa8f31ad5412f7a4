"""Options that more than one command takes, each with one spelling and one help text."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.runtime.seeds import LARGEST_SEED

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType

__all__ = [
    "DATA_HELP",
    "DEVICE_NAME",
    "accelerator_option",
    "data_option",
    "device_option",
    "engine_option",
    "force_option",
    "format_option",
    "metric_option",
    "model_argument",
    "output_option",
    "scheduler_option",
    "seed_option",
    "threads_option",
    "time_limit_option",
]

model_argument = click.argument("model", type=click.Path(path_type=Path))

DATA_HELP = (
    "Samples: an .npz, .csv or .jsonl file, a folder with one folder of images or texts per class, "
    "tfds:NAME, package.module:function, or a data.yaml."
)

data_option = click.option("--data", help=DATA_HELP)
metric_option = click.option(
    "--metric",
    help="What judges: accuracy, top-5, auc, map, mae, mse, or module:function. [default: accuracy; mae for numbers]",
)


class _DeviceName(_TextType):
    """What ``-d`` takes where a profile is meant: a device of the inventory stands for its profile.

    The inventory is read by another package, which ``__main__`` has wired; without it, names are those of profiles.
    """

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """The name of a profile, as ``load_profile`` takes it."""
        wiring = None if ctx is None else ctx.find_root().obj
        return value if wiring is None else str(wiring.profile_name_of(value))


DEVICE_NAME = _DeviceName()
device_option = click.option(
    "-d",
    "--device",
    type=DEVICE_NAME,
    help="The device or profile that the artifact is made for: "
    "it decides which integers are multiplied, and what may be in it.",
)
engine_option = click.option("--engine", help="Run it with this engine: litert, onnxruntime or tflite-runtime.")
accelerator_option = click.option(
    "--accelerator",
    default="cpu",
    show_default=True,
    help="Run it on this accelerator; a list like edgetpu,cpu names the fallbacks that you accept.",
)
threads_option = click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
time_limit_option = click.option(
    "--time-limit",
    "time_limit_s",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds that a model may take to load and to answer.",
)
scheduler_option = click.option(
    "--scheduler", metavar="tcp://HOST:PORT", help="Divide the work among the workers of this Dask scheduler."
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True, help="Seed of all chance."
)


def output_option(help_text: str) -> Decorator:
    """``-o/--output``, required; a path that must be writable."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help=help_text)


def force_option(*checks: str) -> Decorator:
    """``--force CHECK`` as ``forced``: the named checks are left out, and no others can be."""
    return click.option(
        "--force",
        "forced",
        multiple=True,
        type=click.Choice(checks),
        help="Go on although this check fails; the check is named, and no other is left out.",
    )


def format_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--format`` as ``output_format``, and ``-q``/``-v``, which set how much is said on stderr."""

    @click.option(
        "--format",
        "output_format",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, or one JSON document for machines.",
    )
    @click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
    @click.option("-v", "--verbose", is_flag=True, help="Say every step on stderr.")
    @functools.wraps(function)
    def configured(*args: Any, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
        level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO
        logging.getLogger("tinsmith").setLevel(level)
        return function(*args, **kwargs)

    return configured
