"""YAML files that people write: read with the line of each key, so that a mistake is named with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import first_line

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import ValidationError

    from tinsmith.runtime.errors import UsageError

__all__ = ["mistakes", "read_mapping"]


def read_mapping(path: Path, *, what: str, holds: str, error: type[UsageError]) -> Any:
    """Read a YAML file that holds a mapping.

    Args:
        path: The file.
        what: What to call it in messages, such as ``recipe``.
        holds: What stands in it, such as ``version and steps``.
        error: The class of what is raised.

    Returns:
        ruamel.yaml's mapping, which knows the line of each key.

    Raises:
        UsageError: Of the given class: it can't be read, is no YAML, or holds something else.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except YAMLError as said:
        mark = getattr(said, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise error(f"{where}: not YAML: {getattr(said, 'problem', None) or first_line(said)}") from said
    except (OSError, UnicodeDecodeError) as said:
        raise error(f"cannot read the {what} {path}: {first_line(said)}") from said
    if not isinstance(document, dict):
        raise error(f"{path}:1: a {what} is a mapping with {holds}")
    return document


def mistakes(document: Any, path: Path, error: ValidationError) -> str:
    """What pydantic found, each with its place: ``file:line``, the key, and what is wrong with it."""
    return "; ".join(_mistake(document, path, detail) for detail in error.errors())


def _mistake(document: Any, path: Path, detail: Any) -> str:
    place = detail["loc"]
    # behind a step's number pydantic puts its kind, which is no key of the file
    keys = [key for at, key in enumerate(place) if not (at and isinstance(place[at - 1], int))]
    value = f" (found {detail['input']!r})" if isinstance(detail["input"], str | int | float) else ""
    said = detail["msg"].removeprefix("Value error, ")
    return f"{path}:{_line(document, keys)}: {'.'.join(map(str, keys))}: {said}{value}"


def _position(place: Any, key: Any) -> Any:
    """Line and column, from 0, where the YAML parser saw a key or an item."""
    return place.lc.item(key) if isinstance(key, int) else place.lc.key(key)


def _line(document: Any, keys: list[Any]) -> int:
    """The line, from 1, of the deepest key that stands in the file."""
    line = 1
    place = document
    for key in keys:
        try:
            position = _position(place, key)
            place = place[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
        line = position[0] + 1
    return line
