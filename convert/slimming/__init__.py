"""A .tflite file written again without what no runtime reads: the same answers, bit for bit, in fewer bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinsmith.convert.slimming.attached import split_attached
from tinsmith.convert.slimming.pruning import prune
from tinsmith.convert.slimming.reading import read_content, read_model, same_model
from tinsmith.convert.slimming.sizes import parts_of
from tinsmith.runtime.errors import ModelLoadError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Slimmed", "slim_content", "slim_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slimmed:
    """A file's new content.

    Attributes:
        content: What to write; what was read where that is no longer.
        before: Bytes of the old file by part; they add up to it.
        after: Bytes of the new one.
    """

    content: bytes = field(repr=False)
    before: Mapping[str, int]
    after: Mapping[str, int]


def slim_file(path: Path) -> Slimmed:
    """Slim a file's content; raises as ``slim_content``."""
    return slim_content(read_content(path), str(path))


def slim_content(content: bytes, name: str) -> Slimmed:
    """Write a model again with every vector and table stored once, and without what no runtime reads.

    Args:
        content: Of a .tflite file.
        name: Of the file, for messages.

    Raises:
        ModelLoadError: It is damaged.
        ModelError: It keeps bytes outside of the flatbuffer, or is newer than the installed schema.
        VerificationError: What was written does not read back as what was meant.
    """
    attached = split_attached(content)
    model = read_model(content, name)
    before = parts_of(model, len(content), attached.size)
    prune(model)
    slim = _written(model, name)
    whole = slim + attached.moved_to(len(slim))
    if len(whole) >= len(content):
        return Slimmed(content=content, before=before, after=before)
    return Slimmed(content=whole, before=before, after=parts_of(read_model(slim, name), len(whole), attached.size))


def _written(model: object, name: str) -> bytes:
    """Runs exercise only the default signature; reading back covers every graph, option and buffer."""
    from tinsmith.convert.slimming.writing import write_model

    slim = write_model(model)
    try:
        same = same_model(model, read_model(slim, name))
    except ModelLoadError:  # of what was written; the user's file was read before
        same = False
    if not same:
        raise VerificationError(
            f"what slim makes of {name} does not read back as it was written",
            hint="leave the step slim out, and please report it",
        )
    return slim
