"""The command line: a table of commands that are imported only when they are called."""

from __future__ import annotations

import _thread
import contextlib
import errno
import functools
import importlib
import itertools
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Abort, ClickException

from tinsmith.runtime._version import __version__
from tinsmith.runtime.commands.handover import Handover
from tinsmith.runtime.commands.output import print_error
from tinsmith.runtime.errors import OutputError, StepDefectError, TinsmithError, UsageError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["COMMANDS", "SECTIONS", "cli", "main", "run"]


# section: name: (where it lives, what `tinsmith --help` says of it)
SECTIONS = {
    "Start": {
        "demo": (
            "tinsmith.compress.commands.demo:demo",
            "Train, compress, prove and measure a small model, end to end.",
        ),
        "init": (
            "tinsmith.compress.commands.init:init",
            "Ask for model, data and budgets, and say the command.",
        ),
        "formats": (
            "tinsmith.convert.commands.formats:formats",
            "Show which format turns into which, and what it needs.",
        ),
        "doctor": ("tinsmith.convert.commands.doctor:doctor", "Check this machine: packages, engines, space."),
    },
    "Make": {
        "inspect": ("tinsmith.convert.commands.inspect:inspect", "Show what a model holds, costs and needs."),
        "convert": (
            "tinsmith.convert.commands.convert:convert",
            "Turn a model into TFLite or ONNX, and prove it equal.",
        ),
        "compress": (
            "tinsmith.compress.commands.compress:compress",
            "Make a model smaller by a recipe, and prove the cost.",
        ),
        "search": (
            "tinsmith.compress.commands.search:search",
            "Say the budget, get the model: find the recipe that keeps it.",
        ),
        "train": ("tinsmith.compress.commands.train:train", "Train a model of yours by its samples."),
        "calibrate": (
            "tinsmith.convert.commands.calibrate:calibrate",
            "Observe a float .tflite or .onnx on samples, and save its ranges.",
        ),
        "ranges": (
            "tinsmith.convert.commands.ranges:ranges",
            "Show and merge calibrations that `calibrate` has saved.",
        ),
        "recipe": ("tinsmith.compress.commands.recipe:recipe", "List, show and check recipes."),
        "data": (
            "tinsmith.convert.commands.data:data",
            "Show what a dataset holds, and what is wrong with it.",
        ),
    },
    "Judge": {
        "evaluate": (
            "tinsmith.convert.commands.evaluate:evaluate",
            "Measure a model's accuracy on labelled samples.",
        ),
        "compare": ("tinsmith.convert.commands.compare:compare", "Show how far two models' answers lie apart."),
        "benchmark": (
            "tinsmith.devices.commands.benchmark:benchmark",
            "Measure how fast artifacts are on devices, honestly.",
        ),
        "report": (
            "tinsmith.compress.commands.report:report",
            "Show what a search found, finished or not.",
        ),
    },
    "Ship": {
        "bundle": (
            "tinsmith.convert.commands.bundle:bundle",
            "Put an artifact and all it needs on its device into one file.",
        ),
        "devices": (
            "tinsmith.devices.commands.devices:devices",
            "Keep your devices, and say what runs on them.",
        ),
        "flash": (
            "tinsmith.devices.commands.flash:flash",
            "Make a bundle the one that a device serves, or change nothing.",
        ),
        "rollouts": (
            "tinsmith.devices.commands.rollouts:rollouts",
            "List what was flashed to several devices, and how far it is.",
        ),
        "status": ("tinsmith.devices.commands.status:status", "Show what devices serve."),
        "rollback": (
            "tinsmith.devices.commands.status:rollback",
            "Let devices serve what they served before.",
        ),
    },
    "Run": {
        "serve": (
            "tinsmith.runtime.commands.serve:serve",
            "Serve models on the Open Inference Protocol.",
        ),
        "monitor": (
            "tinsmith.runtime.commands.monitor:monitor",
            "Show whether served models drift, slow down or fail.",
        ),
        "maintain": (
            "tinsmith.compress.commands.maintain:maintain",
            "Make what drifts or slows down anew, prove it, and roll it out.",
        ),
    },
}
_AGAIN_S = 0.05
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """A group that shows its help from the table alone and imports a command when it is called.

    The root is plain click: rendering its help with rich would take longer than everything else together.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of a user's path."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """A stand-in with the name and the short help."""
        return click.Command(cmd_name, help=COMMANDS[cmd_name][1]) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """The table, section by section."""
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, said) for name, (_, said) in section.items()], col_max=12)

    def resolve_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - as above
        args: list[str],
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command itself, for the name that was typed."""
        name, *rest = args
        if name not in COMMANDS:
            raise UsageError(f"there is no command {name!r}", hint=_nearest(name))
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return name, command, rest


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"did you mean `tinsmith {near[0]}`?" if near else "`tinsmith --help` lists them"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tinsmith")
@click.pass_context
def cli(context: click.Context) -> None:
    """Make a trained model small, prove what that cost, and run it on the device.

    Exit codes: 0 done, 1 budget missed, 2 usage or data, 3 this machine, 4 the model, 5 device, 6 verification failed,
    7 rolled back, 70 a defect in tinsmith, 130 interrupted.
    """
    context.obj = Wiring()


class Wiring:
    """What one package offers to another that does not know it; only this module knows all of them."""

    @staticmethod
    def measure(artifact: Path) -> Any:
        """How fast an artifact runs here, in a few seconds; satisfies ``tinsmith.compress.variants.Measure``."""
        from tinsmith.devices.benchmarking.benchmark import benchmark_here
        from tinsmith.devices.benchmarking.effort import EFFORTS, Plan

        return benchmark_here(artifact, Plan(effort=EFFORTS["rapid"].with_runs(30)))

    @staticmethod
    def stopwatch(names: Sequence[str], *, effort: str, time_limit_s: float) -> Any:
        """What measures artifacts on devices; satisfies ``tinsmith.compress.search.timing.Stopwatch``."""
        from tinsmith.devices.benchmarking.stopwatch import Stopwatch

        return Stopwatch(names, effort=effort, time_limit_s=time_limit_s)

    @staticmethod
    def measure_by_name(*, effort: str, time_limit_s: float) -> Any:
        """The same for one device of another machine, which knows it by its name; can be sent there."""
        from tinsmith.devices.benchmarking.stopwatch import measure_by_name

        return functools.partial(measure_by_name, effort=effort, time_limit_s=time_limit_s)

    @staticmethod
    def answers_of(names: Sequence[str], *, time_limit_s: float) -> Any:
        """What runs an artifact on devices, for ``tinsmith.convert.elsewhere.evaluate_elsewhere``."""
        from tinsmith.devices.answering import DeviceAnswers
        from tinsmith.devices.inventory import resolve_devices

        devices = resolve_devices(names)
        return lambda path: [DeviceAnswers(device, path, time_limit_s=time_limit_s) for device in devices]

    @staticmethod
    def collecting() -> Any:
        """Who reads devices; satisfies ``tinsmith.compress.maintain.ports.Collecting``."""
        from tinsmith.devices.fleet.maintaining import DeviceCollector

        return DeviceCollector()

    @staticmethod
    def deploying() -> Any:
        """Who flashes devices; satisfies ``tinsmith.compress.maintain.ports.Deploying``."""
        from tinsmith.devices.fleet.maintaining import FleetDeployer

        return FleetDeployer()

    @staticmethod
    def profile_name_of(name: str) -> str:
        """What ``load_profile`` takes for a device of the inventory, or for a profile."""
        from tinsmith.devices.inventory import profile_name_of

        return profile_name_of(name)


def run(arguments: Sequence[str], *, log: Path | None = None) -> int:
    """Run one command line and return its exit code; nothing is raised.

    Args:
        arguments: Without the program's name.
        log: Where a defect's traceback goes; None lets a defect through.
    """
    as_json = "--format=json" in arguments or ("--format", "json") in itertools.pairwise(arguments)
    try:
        ended = cli.main(args=list(arguments), prog_name="tinsmith", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output is gone; what is still in the buffer must not fail again on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last line of defence
        said = _translated(error, log)
        print_error(said, as_json=as_json)
        return said.exit_code
    # a command returns nothing; click gives the code of the Exit that it raised, and of --help
    return ended if isinstance(ended, int) else 0


class _InterruptedError(TinsmithError):
    code = "interrupted"
    exit_code = 130


def _translated(error: BaseException, log: Path | None) -> TinsmithError:
    """What the user is told about an error of any origin."""
    match error:
        case StepDefectError() if log is not None:
            return _logged(error, log)
        case TinsmithError():
            return error
        case ClickException():
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "tinsmith"
            return UsageError(error.format_message(), hint=f"see `{command} --help`")
        case Abort() | KeyboardInterrupt():
            return _InterruptedError("interrupted; nothing was left half-written")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return OutputError.from_os_error(Path(error.filename or "the output"), error)
    return _defect(error, log)


def _defect(error: BaseException, log: Path | None) -> TinsmithError:
    if log is None:
        raise error
    _write_traceback(error, log)
    return TinsmithError(
        f"a defect in tinsmith: {type(error).__name__}: {first_line(error)}",
        hint=f"please report it with the log {log}",
    )


def _logged(error: StepDefectError, log: Path) -> StepDefectError:
    """The same, with the place of its traceback."""
    _write_traceback(error, log)
    return StepDefectError(error.message, hint=f"{error.hint} with the log {log}")


def _write_traceback(error: BaseException, log: Path) -> None:
    import traceback

    with log.open("a") as stream:
        traceback.print_exception(error, file=stream)


@contextlib.contextmanager
def _quiet_natives(log: Path) -> Iterator[None]:
    """Send what C++ libraries print on stderr into the log; our own stderr stays the user's."""
    ours = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 2)
    sys.stderr = ours
    try:
        yield
    finally:
        ours.flush()
        os.dup2(ours.fileno(), 2)


def _raise_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Ctrl-C that struck inside a ``__del__`` (TensorFlow has many) is dropped by Python; send it once more."""
    if unraisable.exc_type is KeyboardInterrupt:
        import threading

        # a little later: sent from here, it would be dropped here as well
        again = threading.Timer(_AGAIN_S, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def main() -> int:
    """The console script: returns the exit code of the command line."""
    handle, name = tempfile.mkstemp(prefix="tinsmith-", suffix=".log")
    os.close(handle)
    log = Path(name)
    sys.unraisablehook = _raise_again
    successor = None
    with _quiet_natives(log):
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.ERROR)
        try:
            code = run(sys.argv[1:], log=log)
        except Handover as handover:
            successor, code = handover, 0
    if code != TinsmithError.exit_code:
        log.unlink(missing_ok=True)
    return code if successor is None else successor.begin()


if __name__ == "__main__":
    sys.exit(main())
