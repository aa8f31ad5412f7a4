"""``tinsmith search``."""

from __future__ import annotations

import contextlib
import functools
import logging
import shlex
import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from tinsmith.compress.commands.search_options import ask_options
from tinsmith.compress.commands.training import tracker_options
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinsmith.compress.search.bounds import Ask
    from tinsmith.compress.search.record import Record
    from tinsmith.compress.search.trial import Trial

__all__ = ["search"]

logger = logging.getLogger(__name__)


@click.command()
@options.model_argument
@options.output_option("A folder for the artifacts, the record, and what a resumed search needs.")
@options.data_option
@options.device_option
@options.metric_option
@ask_options
@click.option("--target", "targets", multiple=True, type=click.Choice(["tflite", "onnx"]),
              help="Formats of the artifact. [default: the model's own, else tflite]")  # fmt: skip
@click.option("--threads", multiple=True, type=click.IntRange(1, 64),
              help="CPU threads to choose from. [default: what the device's profile says]")  # fmt: skip
@click.option("--training/--no-training", default=True, show_default=True, help="Whether weights may be trained.")
@click.option("--sampler", type=click.Choice(["tpe", "nsga2", "random"]), default="tpe", show_default=True,
              help="Who proposes after the known recipes.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Processes on this machine that carry out recipes.")  # fmt: skip
@options.scheduler_option
@click.option("--trial-minutes", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True,
              help="After which one recipe is given up.")  # fmt: skip
@click.option("--trial-memory", metavar="SIZE", help="Memory above which one recipe is given up, such as 4GiB.")
@click.option("--effort", type=click.Choice(["rapid", "quick", "normal", "full"]), default="rapid",
              show_default=True, help="How much is measured of each artifact.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on where a killed search stood, to the same result.")
@tracker_options("trial")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be tried first, and do nothing.")
@options.force_option("unsafe-layers")
@options.time_limit_option
@options.seed_option
@options.format_option
@click.pass_obj
def search(
    wiring: Any, /, model: Path, output: Path, ask: Ask, effort: str, dry_run: bool, output_format: str, **said: Any
) -> None:
    """Say the budget, get the model: find the recipe that keeps it.

    Known recipes are tried first, then what the sampler makes of what came of them; each artifact is measured on every
    device of a bound. Of what keeps the bounds, the one is chosen that is best in what you have not bounded.
    """
    from tinsmith.compress.commands.search_view import plan_view, search_view
    from tinsmith.compress.search.search import known_first
    from tinsmith.compress.search.search import search as carry_out

    subject, settings = _subject(model, ask, said), _settings(said)
    stopwatch = wiring.stopwatch(ask.devices, effort=effort, time_limit_s=said["time_limit_s"])
    if dry_run:
        print_result(output_format, *plan_view(known_first(subject, ask, stopwatch, settings)))
        return
    measure = wiring.measure_by_name(effort=effort, time_limit_s=said["time_limit_s"])
    with _hands(stopwatch, measure, said) as hands:
        record = carry_out(subject, ask, output, hands, settings=settings, watch=_Lines())
    print_result(output_format, {"search": record.to_json()}, search_view(record, output))
    _refuse_missed(record, output, as_json=output_format == "json")


class _Lines:
    """One line a trial, on stderr."""

    @staticmethod
    def tried(trial: Trial) -> None:
        """Say what came of it."""
        from tinsmith.compress.commands.search_view import line_of

        logger.info("%s", line_of(trial))


def _subject(model: Path, ask: Ask, said: dict[str, Any]) -> Any:
    from tinsmith.compress.search.subject import Subject
    from tinsmith.convert.delivery import Allowances

    return Subject(
        model=model,
        budget=ask.budget,
        allow=Allowances(unsafe_layers="unsafe-layers" in said["forced"]),
        **{name: said[name] for name in ("data", "metric", "seed", "time_limit_s", "device")},
    )


def _settings(said: dict[str, Any]) -> Any:
    from tinsmith.compress.search.search import Settings

    return Settings(
        limits=said["limits"],
        command=shlex.join(["tinsmith", *sys.argv[1:]]),
        **{name: said[name] for name in ("targets", "threads", "training", "sampler", "resume", "trackers")},
    )


@contextlib.contextmanager
def _hands(stopwatch: Any, measure: Any, said: dict[str, Any]) -> Iterator[Any]:
    """Who does the work: processes of this machine, or the workers of a cluster."""
    from tinsmith.compress.search.search import Hands
    from tinsmith.compress.search.spreading import LocalSpread

    care = _care(said)
    if said["scheduler"] is None:
        yield Hands(stopwatch=stopwatch, hiring=lambda subject, folder: LocalSpread(subject, folder.work, care))
        return
    from tinsmith.compress.search.cluster import DaskSpread, DaskStopwatch
    from tinsmith.convert.cluster import Cluster

    opens = functools.partial(LocalSpread, care=care)
    with Cluster(said["scheduler"]) as cluster:
        yield Hands(
            stopwatch=DaskStopwatch(cluster, stopwatch, measure),
            hiring=lambda subject, folder: DaskSpread(cluster, subject, opens, folder.work),
        )


def _care(said: dict[str, Any]) -> Any:
    from tinsmith.compress.search.bounds import bytes_of_text
    from tinsmith.compress.search.spreading import Care
    from tinsmith.runtime.errors import UsageError

    if said["scheduler"] is not None and said["workers"] > 1:
        raise UsageError("--workers are those of this machine", hint="with --scheduler, start more with: dask worker")
    memory = said["trial_memory"]
    return Care(
        workers=said["workers"],
        minutes=said["trial_minutes"],
        memory_bytes=None if memory is None else bytes_of_text(memory),
    )


def _refuse_missed(record: Record, output: Path, *, as_json: bool) -> None:
    """End with exit 1 where nothing keeps the bounds; raises ``BudgetMissedError``, or ``Exit`` as JSON says it."""
    from click.exceptions import Exit

    from tinsmith.runtime.errors import BudgetMissedError

    if record.chosen is not None:
        return
    if as_json:
        raise Exit(BudgetMissedError.exit_code)
    if record.nearest is None:
        why = f"`tinsmith report {output} -o report.html` says why of each"
        raise BudgetMissedError(f"no recipe could be carried out: {record.ended}", hint=why)
    if record.loosenings:
        hint = "loosen " + "; or ".join(one.said for one in record.loosenings)
    else:
        hint = f"more than one bound would have to give: `tinsmith report {output} -o report.html` shows how much"
    raise BudgetMissedError(f"nothing keeps every bound: {record.ended}", hint=hint)
