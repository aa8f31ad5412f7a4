"""``tinsmith doctor``."""

from __future__ import annotations

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table
from tinsmith.runtime.errors import HostError

__all__ = ["doctor"]


@click.command()
@options.format_option
def doctor(output_format: str) -> None:
    """Check this machine: packages, engines, space.

    Ends with 3 when something is bad; what is merely missing is listed with the command that brings it.
    """
    from tinsmith.convert.doctor import examine

    findings = examine()
    bad = [finding for finding in findings if finding.state == "bad"]
    rows = [[f.subject, f.state, f.found, f.needed_for] for f in findings]
    mends = [f"{f.subject}: {f.mend}" for f in findings if f.mend]
    view = [table(["what", "state", "found", "needed for"], rows), *mends]
    if bad and output_format == "json":
        raise _bad(bad[0].subject, bad[0].found, bad[0].mend)
    print_result(output_format, {"findings": [f.to_json() for f in findings]}, view)
    if bad:
        raise _bad(bad[0].subject, bad[0].found, bad[0].mend)


def _bad(subject: str, found: str, mend: str) -> HostError:
    return HostError(f"{subject}: {found}", hint=mend)
