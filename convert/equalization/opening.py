"""A float file of either format as something with layers."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tinsmith.runtime.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.convert.equalization.graph import Graph

__all__ = ["LayeredFile", "opened"]


class LayeredFile(Protocol):
    """A file whose layers can get other weights."""

    def graph(self) -> Graph:
        """Its layers, and what stands between them."""
        ...

    def store(self, weights: Mapping[str, NDArray[np.float32]], biases: Mapping[str, NDArray[np.float32]]) -> None:
        """Give layers, by name, new weights and biases in the layout of the old; a layer without a bias gets one."""
        ...

    def content(self) -> bytes:
        """The whole file as it is now."""
        ...


@contextlib.contextmanager
def opened(source: Path) -> Iterator[LayeredFile]:
    """Read a float .tflite or .onnx file.

    Raises:
        ModelLoadError: It can't be parsed.
        RecipeError: It is quantized already.
        UnsupportedOperatorError: It has another format, or is an .onnx file that can't be made ready.
    """
    match source.suffix:
        case ".tflite":
            from tinsmith.convert.equalization.tflite_file import TfliteFile

            yield TfliteFile(source)
        case ".onnx":
            from tinsmith.convert.equalization.onnx_file import OnnxFile

            with tempfile.TemporaryDirectory(prefix="tinsmith-") as folder:
                yield OnnxFile(source, Path(folder))
        case other:
            raise UnsupportedOperatorError(
                f"layers of {other or 'nameless'} files can't be rescaled", hint="convert to .tflite or .onnx first"
            )
