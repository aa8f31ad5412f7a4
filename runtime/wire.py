"""How the parent and its child process talk: a JSON document and some arrays a message.

A message is a 4-byte little-endian length and UTF-8 JSON, then for each array an 8-byte length and the bytes of an
.npy file. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["encode", "read_message"]


def encode(document: dict[str, Any], arrays: Sequence[NDArray[np.generic]] = ()) -> bytes:
    """Turn a message into bytes."""
    header = json.dumps({"document": document, "arrays": len(arrays)}).encode()
    parts = [struct.pack("<I", len(header)), header]
    for array in arrays:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
        content = buffer.getvalue()
        parts += [struct.pack("<Q", len(content)), content]
    return b"".join(parts)


def read_message(read: Callable[[int], bytes]) -> tuple[dict[str, Any], list[NDArray[np.generic]]]:
    """Read one message.

    Args:
        read: Gives exactly as many bytes as it is asked for.

    Returns:
        The document and its arrays.
    """
    (length,) = struct.unpack("<I", read(4))
    header = json.loads(read(length))
    arrays = []
    for _ in range(header["arrays"]):
        (size,) = struct.unpack("<Q", read(8))
        arrays.append(np.lib.format.read_array(io.BytesIO(read(size)), allow_pickle=False))
    return header["document"], arrays
