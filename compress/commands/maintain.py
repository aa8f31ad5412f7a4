"""``tinsmith maintain``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import console, print_result
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.compress.maintain.maintaining import Maintenance
    from tinsmith.compress.maintain.plan import MaintenancePlan
    from tinsmith.compress.maintain.rounds import Round, StepName

__all__ = ["maintain"]

_STEPS = ("observe", "decide", "collect", "recompress", "prove", "bundle", "canary", "waves", "rollback")


@click.command()
@click.argument("path", metavar="PLAN", type=click.Path(path_type=Path), required=False)
@click.option("-n", "--dry-run", is_flag=True, help="Ask the monitors, say what would be done and why, and do nothing.")
@click.option("--yes", is_flag=True, help="Unattended: ask nobody before a step that changes something.")
@click.option("--step", type=click.Choice(_STEPS), help="Do this one step, which must be the next.")
@click.option("--again", is_flag=True, help="Make it anew although the last round has answered the same alarm.")
@click.option("--give-up", is_flag=True, help="End a round in the middle; devices that serve its bundle go back.")
@click.option("--example", is_flag=True, help="Print a plan to change, and do nothing.")
@options.format_option
@click.pass_obj
def maintain(
    wiring: Any,
    path: Path | None,
    output_format: str,
    dry_run: bool,
    yes: bool,
    step: StepName | None,
    again: bool,
    give_up: bool,
    example: bool,
) -> None:
    """Make what drifts or slows down anew, prove it, and roll it out.

    PLAN is a YAML file that says what is kept good, and where. Monitors are asked; where they call for it, captured
    samples are fetched, the model is compressed again by the same recipe, held against the budget on labelled samples,
    bundled, flashed to a canary and then in waves, or taken back. Each step is asked about, and stands in a journal;
    the same command goes on after anything. Returns 1 where the budget is missed or nothing was mended, 5 where devices
    are off, 7 after a rollback.
    """
    from tinsmith.compress.maintain.plan import EXAMPLE, load_plan

    if example:
        sys.stdout.write(EXAMPLE)
        return
    if path is None:
        raise UsageError("a plan is needed", hint="tinsmith maintain --example > plan.yaml")
    if sum((dry_run, yes, step is not None, give_up)) > 1:
        raise UsageError("--dry-run, --yes, --step and --give-up exclude each other", hint="give one of them")
    plan = load_plan(path)
    loop = _loop(plan, wiring)
    if dry_run:
        _preview(plan, loop, output_format, again=again)
        return
    _print(_gone_on(plan, loop, yes=yes, step=step, again=again, give_up=give_up), loop, output_format)


def _loop(plan: MaintenancePlan, wiring: Any) -> Maintenance:
    from tinsmith.compress.maintain.maintaining import Maintenance

    return Maintenance(plan, collecting=wiring.collecting(), deploying=wiring.deploying())


def _gone_on(
    plan: MaintenancePlan, loop: Maintenance, *, yes: bool, step: StepName | None, again: bool, give_up: bool
) -> Round:
    from tinsmith.compress.maintain.journal import open_journal

    consent = _consent(yes=yes or step is not None or give_up)
    with open_journal(plan.work) as journal:
        if give_up:
            return loop.give_up(journal)
        if step is not None:
            return loop.run_step(journal, step, again=again)
        return loop.run(journal, consent, again=again)


def _consent(*, yes: bool) -> Callable[[StepName, str], bool]:
    """Asks whoever sits there; raises ``UsageError`` where nobody does."""
    if yes:
        return lambda _step, _said: True
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask before each step", hint="give --yes, or --step NAME for one step, or -n"
        )
    return lambda step, said: click.confirm(f"{step}: {said}. Go on?", err=True)


def _preview(plan: MaintenancePlan, loop: Maintenance, output_format: str, *, again: bool) -> None:
    from tinsmith.compress.commands.maintain_view import foretold, preview_view, round_document
    from tinsmith.compress.maintain.journal import read_rounds

    now = loop.preview(read_rounds(plan.work), again=again)
    ahead = foretold(loop, now)
    document = {"maintain": {**round_document(now), "dry_run": True, "ahead": [asdict(one) for one in ahead]}}
    print_result(output_format, document, preview_view(now, ahead))
    ended = now.ended or now.end
    if code := now.exit_code if ended is None else ended.exit_code:
        raise Exit(code)


def _print(now: Round, loop: Maintenance, output_format: str) -> None:
    from tinsmith.compress.commands.maintain_view import round_document, round_view

    print_result(output_format, {"maintain": round_document(now)}, round_view(now))
    if now.ended is None:
        step = now.next_step
        assert step is not None
        console(stderr=True).print(f"next is {step}: {loop.foretell(step, now)}", markup=False)
    elif now.ended.exit_code:
        raise Exit(now.ended.exit_code)
