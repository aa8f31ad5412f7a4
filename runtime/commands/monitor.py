"""``tinsmith monitor``."""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.monitor_view import monitor_view
from tinsmith.runtime.commands.output import SCHEMA, console, print_result
from tinsmith.runtime.errors import BudgetMissedError, DataError, DeviceError, UsageError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    Look = Callable[[], list[dict[str, Any]]]

__all__ = ["monitor"]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_LONGEST_S = 86_400.0


class _Duration(click.ParamType[float]):
    """A length of time such as 500ms, 60s, 5m or 1h, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        matched = _DURATION.fullmatch(value)
        seconds = float(matched[1]) * _UNITS_S[matched[2]] if matched else 0.0
        if not 0 < seconds <= _LONGEST_S:
            self.fail(f"{value!r} is no length of time up to a day, such as 60s or 5m", param, ctx)
        return seconds


@click.command()
@click.argument("source", metavar="URL|FILE")
@click.option("--model", "models", multiple=True, help="This model alone; may be given several times. [default: all]")
@click.option("--every", "every_s", type=_Duration(), help="Look again so often, such as 60s or 5m, until interrupted.")
@click.option("--count", type=click.IntRange(1), help="With --every: stop after so many looks.")
@click.option("--lines", is_flag=True, help="One line of JSON a model and look, for machines that follow.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Send the first token of this file.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Trust these certificates instead of the system's.")
@click.option(
    "--timeout", "timeout_s", type=_Duration(), default="10s", show_default=True, help="How long to wait for an answer."
)
@options.format_option
def monitor(
    source: str,
    models: tuple[str, ...],
    every_s: float | None,
    count: int | None,
    lines: bool,
    output_format: str,
    **access: Any,
) -> None:
    """Show whether served models drift, slow down or fail.

    URL is that of `tinsmith serve`, FILE what an earlier `--format json` wrote. Returns 1 when a model drifts, is
    slower than promised, fails too often or does not serve, and 5 when the server can't be reached.
    """
    if count is not None and every_s is None:
        raise UsageError("--count is for looking repeatedly", hint="add --every 60s")
    if output_format == "json" and every_s is not None and not lines:
        raise UsageError("--format json is one document", hint="follow with --lines instead")
    look = _look_at(source, models, **access)
    looks = range(count) if count is not None else itertools.repeat(0) if every_s is not None else range(1)
    code = 0
    for number, _ in enumerate(looks):
        if number:
            time.sleep(every_s or 0)
        code = max(code, _show(look, output_format, lines=lines, goes_on=number > 0))
    if code:
        raise Exit(code)


def _look_at(
    source: str, models: tuple[str, ...], *, token_file: Path | None, ca_file: Path | None, timeout_s: float
) -> Look:
    from tinsmith.runtime.monitor.client import ServerClient, read_token

    if "://" not in source:
        return lambda: _read_file(Path(source), models)
    token = "" if token_file is None else read_token(token_file)
    client = ServerClient(source, token=token, ca_file=ca_file, timeout_s=timeout_s)
    return lambda: client.monitor(models)


def _read_file(path: Path, models: tuple[str, ...]) -> list[dict[str, Any]]:
    """What ``--format json`` wrote, or what the server's monitor call answered."""
    from tinsmith.runtime.monitor.document import is_monitor_document

    write_one = "write one: tinsmith monitor URL --format json > FILE"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"an address begins with http://, as http://{path}" if ":" in str(path) else write_one
        raise DataError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise DataError(f"{path} holds no JSON: {first_line(error)}", hint=write_one) from error
    found = held.get("models", [held]) if isinstance(held, dict) else None
    if not isinstance(found, list) or not all(is_monitor_document(told) for told in found):
        raise DataError(f"{path} holds no monitor document", hint=write_one)
    return [told for told in found if not models or told["model"] in models]


def _show(look: Look, output_format: str, *, lines: bool, goes_on: bool) -> int:
    """Look once and print it; gives the exit code. A later look that fails is told, and the next may succeed."""
    try:
        found = look()
    except DeviceError as error:
        if not goes_on:
            raise
        told = {"schema": SCHEMA, "error": error.to_json()}
        _print_line(told) if lines else console(stderr=True).print(f"error: {error.message}", markup=False)
        return error.exit_code
    ok = all(told["ok"] for told in found)
    if lines:
        for told in found:
            _print_line({"schema": SCHEMA, **told})
    else:
        print_result(output_format, {"ok": ok, "models": found}, monitor_view(found))
    return 0 if ok else BudgetMissedError.exit_code


def _print_line(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
    sys.stdout.flush()
