"""The sizes of an artifact, kept apart: file, zip, flash, memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["Sizes", "deflated_bytes"]

_ZIP_LEVEL = 9
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What an artifact takes, where.

    Attributes:
        file_bytes: Of the file.
        external_bytes: Of weights in files beside it (ONNX's external data).
        zip_bytes: The file alone, deflated at level 9: about what a download costs.
        activation_bytes: An estimate of the memory for activations at batch 1; None where shapes are not known. See
            ``activation_bytes``.
    """

    file_bytes: int
    external_bytes: int
    zip_bytes: int
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
