"""An artifact and all that belongs to it, from where it was made to its place."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.convert.external_data import data_files
from tinsmith.convert.quantization.out_of_core import INSIDE_BYTES, data_path, write_again
from tinsmith.runtime.artifact import Artifact, DataFile, manifest_path, manifest_text
from tinsmith.runtime.files import sha256_of, staged_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["copied", "data_of", "gathered", "put", "work_folder"]


@contextlib.contextmanager
def work_folder(output: Path, expected_bytes: int) -> Iterator[Path]:
    """Where the work is done; beside the output where it gets large, because temp folders often lie in memory."""
    large = expected_bytes > INSIDE_BYTES
    prefix, parent = (".tinsmith-", output.parent) if large else ("tinsmith-", None)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name:
        yield Path(name)


def put(produced: Path, artifact: Artifact) -> None:
    """Write artifact, data and manifest in full before any takes its place: a disk that fills up leaves none of them.

    Data beside the artifact are moved.

    Raises:
        OutputError: The operating system refused to write.
    """
    _place(produced, artifact, move=shutil.move)


def copied(artifact: Artifact, path: Path) -> Artifact:
    """The same artifact under another name, with a manifest of its own; data keep their names, which the graph says.

    Raises:
        OutputError: The operating system refused to write.
    """
    copy = replace(artifact, path=path)
    _place(artifact.path, copy, move=shutil.copyfile)
    return copy


def _place(produced: Path, artifact: Artifact, *, move: Callable[[Path, Path], object]) -> None:
    with contextlib.ExitStack() as stack:
        manifest = stack.enter_context(staged_file(manifest_path(artifact.path)))
        staged = stack.enter_context(staged_file(artifact.path))
        for file in artifact.data:
            data = stack.enter_context(staged_file(artifact.path.with_name(file.name)))
            move(produced.with_name(file.name), data)
        shutil.copyfile(produced, staged)
        manifest.write_text(manifest_text(artifact), encoding="utf-8")


def gathered(produced: Path, output: Path, folder: Path) -> Path:
    """The file, with all data beside it in one file that is named like the output: other names may be taken there.

    Args:
        produced: What was made.
        output: Where it goes in the end.
        folder: To write below, where that is needed.
    """
    if produced.suffix != ".onnx" or {file.name for file in data_files(produced)} <= {data_path(output).name}:
        return produced
    again = folder / "gathered" / output.name
    again.parent.mkdir()
    write_again(produced, again)
    return again


def data_of(produced: Path) -> tuple[DataFile, ...]:
    """What lies beside an artifact and belongs to it."""
    files = data_files(produced) if produced.suffix == ".onnx" else ()
    return tuple(DataFile(name=f.name, sha256=sha256_of(f), size_bytes=f.stat().st_size) for f in files)
