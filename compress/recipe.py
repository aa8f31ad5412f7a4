"""Recipes: what to do to a model, read from YAML into typed steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinsmith.compress.passes.base import QUANTITIES, Needs, Quantity, Step
from tinsmith.compress.passes.table import PASSES
from tinsmith.compress.passes.trained import TrainedPass
from tinsmith.convert.documents import mistakes, read_mapping
from tinsmith.runtime.errors import RecipeError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BuiltinRecipe", "Recipe", "RecipeStep", "builtin_recipes", "load_recipe", "recipe_schema", "recipe_text"]

_FOLDER = Path(__file__).parent / "recipes"

if TYPE_CHECKING:
    RecipeStep = Step
else:  # whatever the table of passes reads
    RecipeStep = Annotated[reduce(or_, (kind.reads for kind in PASSES)), Field(discriminator="kind")]


class Recipe(BaseModel):
    """An ordered list of steps.

    Attributes:
        version: Of this file format.
        target: The format of the artifact; None leaves it to the name of the output.
        steps: In the order they are carried out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    target: Literal["tflite", "onnx"] | None = None
    steps: tuple[RecipeStep, ...]

    @property
    def needs(self) -> Needs:
        """What its steps can't do without."""
        return reduce(or_, (step.needs for step in self.steps), Needs())

    @property
    def from_layers(self) -> bool:
        """Whether it takes a trained model apart, and so has no use for an artifact."""
        passes = {kind.reads: kind for kind in PASSES}
        return any(issubclass(passes[type(step)], TrainedPass) for step in self.steps)

    def document(self) -> dict[str, Any]:
        """In full, defaults included, as reports say it; a recipe file may hold the same."""
        return {"version": self.version, "target": self.target, "steps": [step.document() for step in self.steps]}

    def text(self, comment: str = "") -> str:
        """As a recipe file, without what every step has by itself.

        Args:
            comment: Goes first, on a line of its own.
        """
        from io import StringIO

        from ruamel.yaml import YAML

        steps = [{"kind": step.kind, **step.model_dump(mode="json", exclude_defaults=True)} for step in self.steps]
        target = {} if self.target is None else {"target": self.target}
        written = StringIO()
        yaml = YAML()
        yaml.width = 1000
        yaml.dump({"version": self.version, **target, "steps": steps}, written)
        return f"# {comment}\n{written.getvalue()}" if comment else written.getvalue()

    @property
    def moves(self) -> tuple[Quantity, ...]:
        """What its steps move, in the order of ``Quantity``."""
        moved = {quantity for step in self.steps for quantity in step.effects.moves}
        return tuple(quantity for quantity in QUANTITIES if quantity in moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinRecipe:
    """A recipe that comes with tinsmith.

    Attributes:
        name: As ``--recipe`` takes it.
        summary: The first comment line of its file.
        recipe: Its steps.
    """

    name: str
    summary: str
    recipe: Recipe


def builtin_recipes() -> tuple[BuiltinRecipe, ...]:
    """The recipes that come with tinsmith, in order of their names."""
    return tuple(_builtin(path) for path in sorted(_FOLDER.glob("*.yaml")))


def load_recipe(name: str, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a built-in recipe by its name, or one of the user's by its path.

    Args:
        name: Such as ``int8``, or a path that ends in .yaml or .yml.
        overrides: ``a.b=c`` each, such as ``steps.0.io=int8``.

    Raises:
        RecipeError: There is none, it is not YAML, or it holds an unknown key or a wrong value; says where.
    """
    path = _find(name)
    document = _parse(path)
    for override in overrides:
        _override(document, override)
    return _validate(document, path)


def recipe_text(name: str) -> str:
    """The file of a recipe, comments included, to read, copy and change; raises as ``load_recipe``."""
    return _find(name).read_text(encoding="utf-8")


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file, for editors."""
    return Recipe.model_json_schema()


def _builtin(path: Path) -> BuiltinRecipe:
    text = path.read_text(encoding="utf-8")
    return BuiltinRecipe(
        name=path.stem,
        summary=text.splitlines()[0].removeprefix("# "),
        recipe=_validate(_parse(path), path),
    )


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise RecipeError(f"there is no recipe file {name}", hint="`tinsmith recipe list` lists the built-in ones")
        return Path(name)
    path = _FOLDER / f"{name}.yaml"
    names = sorted(builtin.stem for builtin in _FOLDER.glob("*.yaml"))
    if name not in names:
        raise RecipeError(f"there is no recipe {name!r}", hint=_nearest(name, names))
    return path


def _nearest(name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    asked = f"did you mean {near[0]}? " if near else ""
    return f"{asked}built in: {', '.join(names)}; or name a .yaml file"


def _parse(path: Path) -> Any:
    return read_mapping(path, what="recipe", holds="version and steps", error=RecipeError)


def _override(document: Any, override: str) -> None:
    """Set one value deep in the document, as ``--set`` says it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    keys, equals, value = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override}: no =", hint="write it like --set steps.0.io=int8")
    *parents, last = keys.split(".")
    place = document
    try:
        for key in parents:
            place = place[_key(place, key)]
        place[_key(place, last)] = YAML(typ="safe").load(value)
    except YAMLError as error:
        raise RecipeError(
            f"--set {override}: {value!r} is no YAML value: {first_line(error)}", hint="write it like steps.0.io=int8"
        ) from None
    except (KeyError, IndexError, TypeError, ValueError):
        raise RecipeError(
            f"--set {override}: the recipe has no {keys}", hint="see `tinsmith recipe show NAME`"
        ) from None


def _key(place: Any, key: str) -> str | int:
    if not isinstance(place, list):
        return key
    if not key.isdecimal():
        raise ValueError(key)
    return int(key)


def _validate(document: Any, path: Path) -> Recipe:
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        hint = "`tinsmith recipe schema` prints what a recipe may hold"
        raise RecipeError(mistakes(document, path, error), hint=hint) from None
