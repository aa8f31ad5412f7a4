"""``tinsmith init``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import rich_click as click

from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.handover import Handover
from tinsmith.runtime.commands.output import print_result
from tinsmith.runtime.errors import TinsmithError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.compress.wizard import Answers, ModelFound

__all__ = ["init"]

_NONE = "none"
# option: what is asked for it
_BOUNDS = {
    "max-size": "The file may have at most so many bytes, such as 100KiB",
    "max-latency": "A run may take at most, such as 5ms, or 5ms@pi4 for a device that can be reached",
    "max-drop": "The score may lose at most, such as 0.5%",
    "min-agreement": "At least so many answers like the model's, such as 98%",
}


def _bound_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, asked in reversed(_BOUNDS.items()):
        function = click.option(f"--{name}", name.replace("-", "_"), multiple=name == "max-latency", help=f"{asked}.")(
            function
        )
    return function


@click.command()
@click.option("--model", help="The model to compress.")
@options.data_option
@click.option("-d", "--device", help="The device or profile that the artifact is made for; local is this machine.")
@_bound_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the recipe to begin with to this .yaml.")
@click.option("--run", is_flag=True, help="Run the command at once.")
@click.option("--yes", is_flag=True, help="Ask nothing: what is not named is what is found here, or none.")
@options.format_option
@click.pass_context
def init(
    context: click.Context, /, *, model: str | None, data: str | None, device: str | None, output: Path | None,
    run: bool, yes: bool, output_format: str, **bounds: Any,
) -> None:  # fmt: skip
    """Ask for model, data and budgets, and say the command.

    With --output its recipe is written, with --run the command is run.

    Every question has an option of the same name, and every answer is checked at once.
    """
    from tinsmith.compress.wizard import Answers

    asking = _Asking(ask=not yes)
    found = asking.model(model)
    samples = asking.data(data, found)
    wanted = asking.device(device, context)
    asked = {name: asking.bound(name, bounds[name.replace("-", "_")], samples) for name in _BOUNDS}
    answers = Answers(
        model=found.path,
        format=found.format,
        data=samples,
        device=wanted,
        bounds={name: values for name, values in asked.items() if values},
    )
    if not (yes or run or output):
        run, output = asking.ending()
    if output is not None:
        _write(output, answers)
    command = answers.command(None if output is None else str(output))
    _print(command, answers, output, output_format)
    if run:
        _run(command)


class _Asking:
    """Asks on the terminal for what was not named, and checks every answer at once; or takes what it finds."""

    def __init__(self, *, ask: bool) -> None:
        self._ask = ask
        if ask and not sys.stdin.isatty():
            raise UsageError(
                "there is no terminal to ask at",
                hint="name it all: tinsmith init --model model.keras --data calib.npz -d pi4 --max-size 100KiB --yes",
            )

    def model(self, given: str | None) -> ModelFound:
        """What to compress."""
        from tinsmith.compress.wizard import guess_model, look_at_model

        name = self._answer("Model", given, guess_model(Path.cwd()), lambda text: look_at_model(Path(text)).text)
        if name is None:
            raise UsageError("there is no model here, or more than one", hint="name it: --model model.keras")
        return look_at_model(Path(name))

    def data(self, given: str | None, model: ModelFound) -> str | None:
        """Its samples."""
        from tinsmith.compress.wizard import guess_data, look_at_data

        default = given or guess_data(Path.cwd(), model) or _NONE
        return self._answer("Samples", given, default, lambda text: look_at_data(text, model).text)

    def device(self, given: str | None, context: click.Context) -> str | None:
        """What it is for."""

        def look(text: str) -> str:
            from tinsmith.runtime.profile import load_profile

            return load_profile(options.DEVICE_NAME.convert(text, None, context)).title

        named = self._answer("Device", given, "local", look)
        return None if named == "local" else named

    def bound(self, name: str, given: str | tuple[str, ...] | None, samples: str | None) -> tuple[str, ...]:
        """One bound; none is asked of answers where there are no samples to see them on."""
        if given:
            values = (given,) if isinstance(given, str) else given
            for value in values:
                _checked_bound(name, value)
            return values
        if not self._ask or (samples is None and name in ("max-drop", "min-agreement")):
            return ()
        said = self._answer(_BOUNDS[name], None, _NONE, lambda text: _checked_bound(name, text))
        return () if said is None else (said,)

    def ending(self) -> tuple[bool, Path | None]:
        """Whether to run it, and where to write the recipe."""
        what = click.prompt(
            "Print the command, write the recipe, or run it",
            default="print", type=click.Choice(["print", "write", "run"]), err=True,
        )  # fmt: skip
        if what == "write":
            return False, Path(click.prompt("Recipe", default="recipe.yaml", err=True))
        return what == "run", None

    def _answer(self, question: str, given: str | None, default: str | None, look: Callable[[str], str]) -> str | None:
        """What was named or is answered, after a look at it; None for ``none``."""
        if given is not None or not self._ask:
            text = given if given is not None else default
            if text in (None, _NONE):
                return None
            look(text)
            return text
        answered: str = click.prompt(question, default=default, value_proc=lambda text: _seen(text, look), err=True)
        return None if answered == _NONE else answered


def _seen(text: str, look: Callable[[str], str]) -> str:
    """Say what was found; click asks again after an error of its own kind."""
    if text == _NONE:
        return text
    try:
        said = look(text)
    except TinsmithError as error:
        raise click.UsageError(f"{error.message}{f'; {error.hint}' if error.hint else ''}") from error
    click.echo(f"  {said}", err=True)
    return text


def _checked_bound(name: str, text: str) -> str:
    from tinsmith.compress.budget import share_of
    from tinsmith.compress.search.bounds import bytes_of_text, latency_of_text

    match name:
        case "max-size":
            return f"{bytes_of_text(text):,} bytes"
        case "max-latency":
            bound = latency_of_text(text)
            return f"{bound.most:g} ms on {bound.device}"
    return f"{share_of(text):.2%}"


def _write(output: Path, answers: Answers) -> None:
    from tinsmith.compress.recipe import recipe_text
    from tinsmith.runtime.files import write_text

    if output.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{output} is no .yaml file, and a recipe is one", hint="end --output in .yaml")
    if output.exists():
        raise UsageError(
            f"{output} is there already", hint="name another file; it may be a recipe that you have changed"
        )
    write_text(output, recipe_text(answers.recipe))


def _print(command: tuple[str, ...], answers: Answers, output: Path | None, output_format: str) -> None:
    view = [shlex.join(command)]
    if output is not None:
        view.insert(0, f"wrote {output}; change it, then:")
        if answers.searched_for:
            kept = ", ".join(f"--{name}" for name in answers.searched_for)
            view.append(f"only a search keeps {kept}: {shlex.join(answers.command())}")
    recipe = None if output is None else str(output)
    if output_format == "json":
        print_result("json", {"init": {"command": list(command), "recipe": recipe}}, [])
        return
    # a command is one line, however long: it is there to be copied
    sys.stdout.write("\n".join(view) + "\n")


def _run(command: tuple[str, ...]) -> NoReturn:
    sys.stdout.flush()
    raise Handover(arguments=("-m", *command))
