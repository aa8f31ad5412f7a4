"""Whose file it was that an engine died on: the user's, or one that a step of tinsmith has written."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import EngineDiedError, StepDefectError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

__all__ = ["CONVERSION", "writers_named"]

CONVERSION = "convert"


@contextlib.contextmanager
def writers_named(
    given: Collection[Path], written: Mapping[Path, str], *, otherwise: str = CONVERSION
) -> Iterator[None]:
    """Name the step that wrote the file where an engine dies on it: the user's own is not damaged then.

    Args:
        given: The user's files; what is said of them stays.
        written: The step that wrote each file.
        otherwise: The step that wrote any other.

    Raises:
        StepDefectError: An engine died on a file that a step has written.
        EngineDiedError: It died on one of the user's.
    """
    try:
        yield
    except EngineDiedError as error:
        if error.path is None or error.path in given:
            raise
        step = written.get(error.path, otherwise)
        names = ", ".join(path.name for path in given)
        hint = "please report it" if step == CONVERSION else f"leave the step {step} out, and please report it"
        raise StepDefectError(
            f"the engine died on what the step {step} wrote: {error.how}: a defect in tinsmith, and none of {names}",
            hint=hint,
        ) from error
