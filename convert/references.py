"""Functions of the user, named as ``package.module:function``."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import UsageError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["find_function", "is_reference"]

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_reference(name: str) -> bool:
    """Whether this looks like ``package.module:function``."""
    return _REFERENCE.fullmatch(name) is not None


def find_function(reference: str, *, hint: str, error: type[UsageError] = UsageError) -> Callable[..., Any]:
    """Import the module, and give the function; the present folder is searched first.

    Args:
        reference: ``package.module:function``.
        hint: What the function should take and give; said where there is none.
        error: The class to raise.

    Raises:
        UsageError: There is no such module or function, or importing it failed.
    """
    module_name, _, name = reference.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except Exception as failure:  # the user's module may do anything
        raise error(
            f"{reference}: {module_name} can't be imported: {type(failure).__name__}: {first_line(failure)}",
            hint="run tinsmith in the folder of the module, or install it",
        ) from failure
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise error(f"{reference}: {module_name} has no function {name!r}", hint=hint)
    function: Callable[..., Any] = found
    return function
