"""The sizes of an artifact, kept apart: file, zip, flash, memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["Sizes", "deflated_bytes", "deflated_estimate"]

_ZIP_LEVEL = 9
_CHUNK_BYTES = 1 << 20
# Of a larger file, so much is deflated, in blocks that lie evenly.
_SAMPLE_BYTES = 2 << 20
_BLOCK_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What an artifact takes, where.

    Attributes:
        file_bytes: Of the file.
        external_bytes: Of weights in files beside it (ONNX's external data).
        zip_bytes: All of them, each deflated at level 9: about what a download costs.
        zip_estimated: Whether that is an estimate; see ``deflated_estimate``.
        activation_bytes: An estimate of the memory for activations at batch 1; None where shapes are not known. See
            ``activation_bytes``.
    """

    file_bytes: int
    external_bytes: int
    zip_bytes: int
    zip_estimated: bool
    activation_bytes: int | None

    @property
    def flash_bytes(self) -> int:
        """Weights and graph as a device stores them."""
        return self.file_bytes + self.external_bytes


def deflated_bytes(path: Path) -> int:
    """The size of a file, deflated at level 9."""
    deflate = zlib.compressobj(_ZIP_LEVEL)
    with path.open("rb") as stream:
        size = sum(len(deflate.compress(chunk)) for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""))
    return size + len(deflate.flush())


def deflated_estimate(path: Path) -> tuple[int, bool]:
    """The same, of a file above 2 MiB told from a sample of it: deflating takes as long as quantizing.

    Returns:
        The size, and whether it is an estimate.
    """
    size = path.stat().st_size
    if size <= _SAMPLE_BYTES:
        return deflated_bytes(path), False
    blocks = _SAMPLE_BYTES // _BLOCK_BYTES
    deflated = 0
    with path.open("rb") as stream:
        for block in range(blocks):
            stream.seek(block * (size - _BLOCK_BYTES) // (blocks - 1))
            deflated += len(zlib.compress(stream.read(_BLOCK_BYTES), _ZIP_LEVEL))
    return deflated * size // _SAMPLE_BYTES, True
