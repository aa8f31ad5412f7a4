"""The options that say what a search is to keep, and when it ends."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.compress.commands.budget import share_options

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorated = Callable[..., Any]

__all__ = ["ask_options"]

_FILES = {
    "size": "Most bytes of the file, such as 100KiB.",
    "zip": "Most bytes of the file, deflated as a download.",
    "flash": "Most bytes of weights and graph, as a device stores them.",
}


def ask_options(function: Decorated) -> Decorated:
    """Every bound, as the argument ``ask``, and ``--max-trials`` and ``--max-minutes`` as ``limits``."""

    @_sizes
    @click.option("--max-ram", "memories", multiple=True, metavar="SIZE[@DEVICE]",
                  help="Most memory of a process that runs it there, such as 64MiB@pi4.")  # fmt: skip
    @click.option("--max-latency", "latencies", multiple=True, metavar="TIME[@DEVICE]",
                  help="Longest median time of a run there, such as 5ms@pi4; here without a device.")  # fmt: skip
    @share_options
    @click.option("--max-trials", "trials", type=click.IntRange(1), default=60, show_default=True,
                  help="Different recipes that are tried.")  # fmt: skip
    @click.option("--max-minutes", "minutes", type=click.FloatRange(0, min_open=True), default=30.0,
                  show_default=True,
                  help="After which nothing new is begun, in each run; making the set whole comes on top.")  # fmt: skip
    @functools.wraps(function)
    def asked(*args: Any, trials: int, minutes: float, **kwargs: Any) -> Any:
        from tinsmith.compress.search.searching import Limits

        ask = _ask(kwargs)
        return function(*args, ask=ask, limits=Limits(trials=trials, minutes=minutes), **kwargs)

    command: Decorated = asked
    return command


def _sizes(function: Decorated) -> Decorated:
    for kind, help_text in _FILES.items():
        function = click.option(f"--max-{kind}", metavar="SIZE", help=help_text)(function)
    return function


def _ask(kwargs: dict[str, Any]) -> Any:
    """Take what was said of bounds out of the arguments; raises ``UsageError``."""
    from tinsmith.compress.budget import Budget
    from tinsmith.compress.search import bounds

    sizes = {kind: kwargs.pop(f"max_{kind}") for kind in _FILES}
    files = [bounds.FileBound(kind=kind, most=bounds.bytes_of_text(text)) for kind, text in sizes.items() if text]  # type: ignore[arg-type]
    return bounds.Ask(
        budget=Budget(**{name: kwargs.pop(name) for name in ("max_drop", "max_class_drop", "min_agreement")}),
        files=tuple(files),
        latencies=tuple(bounds.latency_of_text(text) for text in kwargs.pop("latencies")),
        memories=tuple(bounds.memory_of_text(text) for text in kwargs.pop("memories")),
    )
