"""Write docs/reference/ from the code: python docs/reference.py. A test says when it is stale."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinsmith.__main__ import SECTIONS
from tinsmith.compress.passes.table import PASSES
from tinsmith.compress.recipe import builtin_recipes, recipe_text
from tinsmith.convert.formats import markdown_table
from tinsmith.runtime import errors
from tinsmith.runtime.profile import list_profiles, load_profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tinsmith.runtime.profile import Profile

FOLDER = Path(__file__).parent / "reference"
MADE = "<!-- made by docs/reference.py; change the code instead -->"


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Every page, by its name."""
    parts = {
        "commands.md": ("Commands", _commands()),
        "recipes.md": ("Recipes", _recipes()),
        "profiles.md": ("Profiles", _profiles()),
        "exit-codes.md": ("Exit codes", _exit_codes()),
        "formats.md": ("Formats", _formats()),
    }
    return {name: "\n\n".join([f"# {title}", MADE, *texts]) + "\n" for name, (title, texts) in parts.items()}


def _commands() -> Iterator[str]:
    yield "Options of a command, as `tinsmith COMMAND --help` shows them. `--format`, `-q` and `-v` are everywhere."
    for title, section in SECTIONS.items():
        yield f"## {title}"
        for name, (place, _) in section.items():
            module, attribute = place.split(":")
            yield from _command(name, getattr(importlib.import_module(module), attribute))


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"tinsmith {name}")
    yield f"### {name}"
    yield _paragraphs(command.help or "")
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            yield from _command(f"{name} {sub}", found)
        return
    yield f"`{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`"
    records = [p.get_help_record(context) for p in command.get_params(context) if isinstance(p, click.Option)]
    rows = [(f"`{said[0]}`", said[1]) for said in records if said and said[0] not in _EVERYWHERE]
    if rows:
        yield _table(("option", "says"), rows)


_EVERYWHERE = {"--format [table|json]", "-q, --quiet", "-v, --verbose", "-h, --help", "--help"}


def _recipes() -> Iterator[str]:
    yield "`tinsmith recipe show NAME` prints one to change; `tinsmith recipe schema` is for editors."
    yield "## Built in"
    for recipe in builtin_recipes():
        yield f"### {recipe.name}"
        needs = str(recipe.recipe.needs)
        yield f"{recipe.summary}\n\nNeeds: {needs}. Moves: {', '.join(recipe.recipe.moves) or 'nothing'}."
        yield f"```yaml\n{recipe_text(recipe.name).strip()}\n```"
    yield "## Steps"
    for one in PASSES:
        yield f"### {one.kind}"
        yield _paragraphs(one.reads.__doc__ or "")
        fields = one.reads.model_fields
        rows = [
            (f"`{key}`", _default(field), field.description or "") for key, field in fields.items() if key != "kind"
        ]
        if rows:
            yield _table(("key", "default", "says"), rows)


def _default(field: Any) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    return "-" if value is None or value == () else f"`{value}`"


def _profiles() -> Iterator[str]:
    yield "`-d` takes a name or an alias. `tinsmith devices show NAME` prints all figures with their sources."
    rows = [_profile(name, load_profile(name)) for name in list_profiles()]
    yield _table(("profile", "aliases", "what", "RAM", "threads", "engines", "accelerators"), rows)


def _profile(name: str, profile: Profile) -> tuple[str, ...]:
    ram = "-" if profile.ram_bytes is None else f"{profile.ram_bytes / 2**20:,.0f} MiB"
    return (
        f"`{name}`",
        ", ".join(f"`{alias}`" for alias in profile.aliases),
        profile.title,
        ram,
        str(profile.threads),
        ", ".join(engine.name for engine in profile.engines),
        ", ".join(accelerator.name for accelerator in profile.accelerators) or "-",
    )


def _exit_codes() -> Iterator[str]:
    yield "A command over several devices returns their highest code. Under `--format json` an error is one document:"
    yield '```json\n{"schema": 1, "error": {"code": "usage", "message": "...", "hint": "..."}}\n```'
    yield _table(
        ("exit", "code", "means"), [("0", "-", "done"), *_errors(), ("130", "interrupted", "Ctrl-C or SIGTERM")]
    )


def _errors() -> Iterator[tuple[str, str, str]]:
    kinds = {kind.code: kind for kind in map(errors.__dict__.get, errors.__all__) if isinstance(kind, type)}
    root = kinds.pop(errors.TinsmithError.code)
    for code, kind in sorted(kinds.items(), key=lambda item: (item[1].exit_code, item[0])):
        yield str(kind.exit_code), f"`{code}`", (kind.__doc__ or "").split("\n")[0]
    yield str(root.exit_code), f"`{root.code}`", "A defect in tinsmith; the message names the log."


def _formats() -> Iterator[str]:
    yield "What `tinsmith formats` prints: which format turns into which, by what, and what runs it."
    yield markdown_table().strip()


def _paragraphs(text: str) -> str:
    """A docstring as it is, without its indentation."""
    return re.sub(r"\n[ \t]+", "\n", text.strip()).split("\f")[0]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
