"""``tinsmith flash``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from click.core import ParameterSource
from click.exceptions import Exit

from tinsmith.devices.commands.selection import DEVICES_HELP, parallel_option
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result
from tinsmith.runtime.errors import UsageError

if TYPE_CHECKING:
    from tinsmith.devices.device import Device
    from tinsmith.devices.fleet.plan import Plan
    from tinsmith.devices.fleet.rollout import Result

__all__ = ["flash"]

_WITH_RESUME = {"file", "resume", "output_format", "quiet", "verbose"}


@click.command()
@click.argument("file", metavar="BUNDLE", type=click.Path(path_type=Path), required=False)
@click.option("-d", "--device", "names", multiple=True, help=DEVICES_HELP)
@click.option("--window", "window_s", type=click.FloatRange(0), default=10.0, show_default=True,
              help="Seconds that the update is watched on the device before it is kept.")  # fmt: skip
@click.option("--allow-unsigned", "unsigned", is_flag=True,
              help="Take a bundle that nobody signed, on a device that trusts no key.")  # fmt: skip
@click.option("--allow-downgrade", "downgrade", is_flag=True, help="Take an older version than the device has had.")
@click.option("--canary", default="1", show_default=True,
              help="So many of the devices come first, alone; or a name, a group, a tag; 0 for none.")  # fmt: skip
@click.option("--waves", default="100%", show_default=True,
              help="Then so many: shares of all devices, 10%,50%,100%, or numbers, 5,20.")  # fmt: skip
@click.option("--max-failures", default="50%", show_default=True,
              help="Start no more devices once more of a wave than this have failed.")  # fmt: skip
@parallel_option
@click.option("--resume", metavar="[ID]", is_flag=False, flag_value="",
              help="Go on with a rollout as it was begun; without an ID, the newest not done.")  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be sent to each device, and send nothing.")
@options.time_limit_option
@options.force_option("fit", "profile")
@options.format_option
@click.pass_context
def flash(context: click.Context, *, file: Path | None, names: tuple[str, ...], forced: tuple[str, ...],
          output_format: str, window_s: float, unsigned: bool, downgrade: bool, canary: str, waves: str,
          max_failures: str, parallel: int, resume: str | None, dry_run: bool,
          time_limit_s: float) -> None:  # fmt: skip
    """Make a bundle the one that a device serves, or change nothing.

    Sends what is missing, checks hash, signature and version, runs the bundle on the device, switches in one step, and
    watches it: a device that is cut off at any moment serves the old bundle or the new one, whole. What is not healthy
    is taken back (exit code 7).

    Several devices make a rollout: a canary, then waves, until too many of one have failed. Its journal is on the disk
    of this machine, and `--resume` goes on after anything. Of several devices each is listed, and the exit code is the
    highest of them.
    """
    from tinsmith.devices.flashing.flash import Permissions
    from tinsmith.devices.fleet.rolling_out import Orders, canary_of, plan_of
    from tinsmith.devices.fleet.waves import read_percent, read_steps
    from tinsmith.devices.inventory import resolve_devices

    if resume is not None:
        _print(_resumed(resume, file, context), output_format)
        return
    if file is None or not names:
        raise UsageError("a bundle and devices are needed", hint="tinsmith flash app.tin -d DEVICE; or --resume")
    devices = resolve_devices(names)
    orders = Orders(
        canary=canary_of(canary, devices),
        steps=read_steps(waves),
        max_failures_percent=read_percent(max_failures),
        parallel=parallel,
        permissions=Permissions(unsigned=unsigned, downgrade=downgrade, window_s=window_s, time_limit_s=time_limit_s),
        forced=forced,
    )
    plan = plan_of(file, devices, orders)
    if dry_run:
        _preview(plan, devices, output_format)
    elif len(devices) == 1:
        _flash_one(plan, devices[0], output_format)
    else:
        _print(_rolled_out(plan, devices), output_format)


def _flash_one(plan: Plan, device: Device, output_format: str) -> None:
    from tinsmith.devices.commands.flash_view import Following, flash_view
    from tinsmith.devices.flashing.deploying import Deployer
    from tinsmith.devices.fleet.outcome import Outcome

    with Following(device.name) as watch:
        deployment = Deployer().flash(device, plan.cargo, plan.permissions, watch)
    outcome = Outcome.of(deployment, sum(deployment.durations_ms.values()) / 1e3)
    document = {
        "bundle": str(plan.cargo.path),
        "devices": [outcome.to_json()],
        "deployments": [deployment.to_json()],
    }
    print_result(output_format, document, flash_view(device, deployment))


def _rolled_out(plan: Plan, devices: tuple[Device, ...]) -> Result:
    from tinsmith.devices.commands.fleet_view import RolloutLine
    from tinsmith.devices.flashing.deploying import Deployer
    from tinsmith.devices.fleet.journal import rollouts_folder
    from tinsmith.devices.fleet.rolling_out import begin

    with RolloutLine() as watch:
        return begin(plan, devices, rollouts_folder(), flashing=Deployer(), watch=watch)


def _resumed(name: str, file: Path | None, context: click.Context) -> Result:
    from tinsmith.devices.commands.fleet_view import RolloutLine
    from tinsmith.devices.flashing.deploying import Deployer
    from tinsmith.devices.fleet.journal import find_rollout, rollouts_folder
    from tinsmith.devices.fleet.rolling_out import resume

    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name not in _WITH_RESUME:
            hint = f"leave {parameter.opts[-1]} out, or begin a new rollout"
            raise UsageError("a rollout goes on as it was begun", hint=hint)
    path = find_rollout(name, rollouts_folder())
    with RolloutLine() as watch:
        return resume(path, file, flashing=Deployer(), watch=watch)


def _print(result: Result, output_format: str) -> None:
    from tinsmith.devices.commands.fleet_view import result_document, result_view

    print_result(output_format, result_document(result), result_view(result))
    if result.exit_code:
        raise Exit(result.exit_code)


def _preview(plan: Plan, devices: tuple[Device, ...], output_format: str) -> None:
    from tinsmith.devices.commands.fleet_view import preview_document, preview_view
    from tinsmith.devices.flashing.store import Store, store_folder
    from tinsmith.devices.fleet.pool import in_order
    from tinsmith.devices.fleet.preview import preview

    store = Store(store_folder())
    found = in_order(lambda device: preview(device, plan.cargo, store), devices, parallel=plan.parallel)
    print_result(output_format, preview_document(plan, found), preview_view(plan, found))
    if code := max(0 if one.error is None else one.error.exit_code for one in found):
        raise Exit(code)
