"""What is measured: an artifact, by its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinsmith.runtime.files import sha256_of
from tinsmith.runtime.session import artifact_format

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Subject", "subject_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An artifact on this machine.

    Attributes:
        path: Of its file.
        sha256: Of its file.
        size_bytes: Of its file.
        format: ``tflite`` or ``onnx``.
    """

    path: Path
    sha256: str
    size_bytes: int
    format: str


def subject_of(path: Path) -> Subject:
    """Read an artifact's file; raises as ``artifact_format``."""
    found = artifact_format(path)
    return Subject(path=path, sha256=sha256_of(path), size_bytes=path.stat().st_size, format=found)
