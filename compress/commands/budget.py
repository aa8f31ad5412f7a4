"""The options that bound what compression may cost, and how the verdicts are shown."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinsmith.compress.budget import Verdict

    Decorated = Callable[..., Any]

__all__ = ["budget_facts", "budget_options", "refuse_misses", "share_options"]


def budget_options(function: Decorated) -> Decorated:
    """What it may cost (``--max-drop`` and the like), and how long to look for a way, as the argument ``recovery``."""

    @share_options
    @click.option(
        "--max-trials",
        "trials",
        type=click.IntRange(1),
        default=24,
        show_default=True,
        help="Recipes that are tried to keep such a bound.",
    )
    @click.option(
        "--max-minutes",
        "minutes",
        type=click.FloatRange(0, min_open=True),
        default=30.0,
        show_default=True,
        help="After which no other one is tried.",
    )
    @functools.wraps(function)
    def bounded(*args: Any, trials: int, minutes: float, **kwargs: Any) -> Any:
        from tinsmith.compress.budget import Budget
        from tinsmith.compress.recovery import Limits, Recovery

        budget = Budget(**{name: kwargs.pop(name) for name in ("max_drop", "max_class_drop", "min_agreement")})
        recovery = Recovery(budget=budget, limits=Limits(trials=trials, minutes=minutes))
        return function(*args, recovery=recovery, **kwargs)

    command: Decorated = bounded
    return command


def share_options(function: Decorated) -> Decorated:
    """What answers may cost: ``max_drop``, ``max_class_drop`` and ``min_agreement``, 0 to 1 each."""
    shares = {
        "--min-agreement": "Least share of answers like the source's; needs no labels.",
        "--max-class-drop": "Most that any class or slice may lose; more is exit 1.",
        "--max-drop": "Most that the score may lose, such as 0.5%; more is exit 1.",
    }
    for name, help_text in shares.items():
        function = _share_option(name, help_text)(function)
    return function


def budget_facts(verdicts: Sequence[Verdict]) -> list[tuple[str, object]]:
    """One row a bound."""
    return [(verdict.bound, ("MISSED: " if verdict.missed else "kept: ") + verdict.text) for verdict in verdicts]


def refuse_misses(misses: Sequence[Verdict], artifact: object, *, as_json: bool) -> None:
    """End with exit 1 where a bound was not kept; the report was printed before.

    Raises:
        BudgetMissedError: One was not.
        Exit: The same under ``--format json``, where the one document says it already.
    """
    from tinsmith.runtime.errors import BudgetMissedError

    if not misses:
        return
    if as_json:
        raise Exit(BudgetMissedError.exit_code)
    missed = "; ".join(f"--{verdict.bound}: {verdict.text}" for verdict in misses)
    raise BudgetMissedError(
        f"the budget was missed: {missed}",
        hint=f"{artifact} is what was reached; int16x8, dynamic-int8 or float16 lose less, and more samples may help",
    )


def _share_option(name: str, help_text: str) -> Callable[..., Any]:
    return click.option(name, metavar="SHARE", callback=_read, help=help_text)


def _read(_context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Raises ``UsageError`` that names the option."""
    from tinsmith.compress.budget import share_of
    from tinsmith.runtime.errors import UsageError

    try:
        return None if value is None else share_of(value)
    except UsageError as error:
        raise UsageError(f"{parameter.opts[0]}: {error.message}", hint=error.hint) from None
