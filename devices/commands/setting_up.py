"""Setting devices up, as more than one command does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from click.exceptions import Exit

from tinsmith.runtime.commands.output import print_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinsmith.devices.device import Device

__all__ = ["set_up_and_print"]


def set_up_and_print(devices: Sequence[Device], output_format: str, **wanted: Any) -> None:
    """Set devices up, and print what was done; the exit code is the highest of them.

    Args:
        devices: Which ones.
        output_format: ``table`` or ``json``.
        **wanted: As ``Wanted`` takes it.
    """
    from tinsmith.devices.commands.setup_view import setup_document, setup_view
    from tinsmith.devices.setup.report import Wanted
    from tinsmith.devices.setup.setting_up import set_up_all

    outcomes = set_up_all(devices, Wanted(**wanted))
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error
    print_result(output_format, {"devices": [setup_document(outcome) for outcome in outcomes]}, setup_view(outcomes))
    if code := max(0 if outcome.error is None else outcome.error.exit_code for outcome in outcomes):
        raise Exit(code)
