"""``tinsmith recipe``: list, show, validate, schema."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import rich_click as click

from tinsmith.compress.commands.moves import moved
from tinsmith.runtime.commands import options
from tinsmith.runtime.commands.output import print_result, table

__all__ = ["recipe"]


@click.group()
def recipe() -> None:
    """List, show and check recipes."""


@recipe.command("list")
@options.format_option
def list_recipes(output_format: str) -> None:
    """List the built-in recipes, with what each needs and what it moves."""
    from tinsmith.compress.recipe import builtin_recipes

    recipes = builtin_recipes()
    rows = [[r.name, r.recipe.needs, moved(r.recipe.moves), r.summary] for r in recipes]
    listed = [
        {"name": r.name, "summary": r.summary, "needs": asdict(r.recipe.needs), "moves": r.recipe.moves}
        for r in recipes
    ]
    print_result(output_format, {"recipes": listed}, [table(["recipe", "needs", "moves", "what it does"], rows)])


@recipe.command("show")
@click.argument("name")
@options.format_option
def show_recipe(name: str, output_format: str) -> None:
    """Print a recipe in full, to read, copy and change."""
    from tinsmith.compress.recipe import load_recipe, recipe_text

    loaded = load_recipe(name)
    if output_format == "json":
        print_result("json", {"recipe": loaded.model_dump(mode="json")}, [])
    else:
        sys.stdout.write(recipe_text(name))


@recipe.command("validate")
@click.argument("name")
@options.format_option
def validate_recipe(name: str, output_format: str) -> None:
    """Check a recipe file without a model."""
    from tinsmith.compress.recipe import load_recipe

    loaded = load_recipe(name)
    steps = ", ".join(step.kind for step in loaded.steps) or "none"
    document = {"valid": True, "recipe": loaded.model_dump(mode="json")}
    print_result(output_format, document, [f"{name} is a valid recipe; steps: {steps}"])


@recipe.command("schema")
@options.format_option
def print_schema(output_format: str) -> None:  # noqa: ARG001 - a schema is JSON in either case
    """Print the JSON Schema of a recipe file, for editors."""
    from tinsmith.compress.recipe import recipe_schema

    sys.stdout.write(json.dumps(recipe_schema(), indent=2) + "\n")
