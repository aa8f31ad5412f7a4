"""Arrays as parts of a bundle, in numpy's .npy form; nothing in them is ever unpickled."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import DataError, first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = ["npy_bytes", "read_npy"]

_NUMBERS = "biuf"


def npy_bytes(array: Array) -> bytes:
    """The .npy form, version 1.0, row-major and little-endian; the same array gives the same bytes."""
    import numpy as np

    stream = io.BytesIO()
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    np.lib.format.write_array(stream, plain, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def read_npy(content: bytes, spec: TensorSpec, *, samples: int, part: str) -> Array:
    """Read samples of one tensor; no more memory is taken than the content has.

    Args:
        content: An .npy file of version 1.0.
        spec: Of the tensor that they are samples of.
        samples: How many must be there, on axis 0.
        part: What to call it in messages.

    Raises:
        DataError: It is damaged, or holds anything else.
    """
    from tokenize import TokenError

    import numpy as np

    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, SyntaxError, TypeError, TokenError) as error:  # numpy parses it as Python
        raise DataError(f"{part} is no .npy file: {first_line(error)}", hint="make the bundle again") from error
    plain = version == (1, 0) and not fortran_order and dtype.kind in _NUMBERS and dtype.names is None
    if not plain or dtype.name != spec.dtype or not _fits(shape, spec, samples):
        raise DataError(
            f"{part} holds {dtype} {list(shape)}, and {samples} samples of {spec.name!r} are wanted: "
            f"{spec.dtype} {[samples, *spec.shape[1:]]}",
            hint="make the bundle again",
        )
    if len(content) - stream.tell() != math.prod(shape) * dtype.itemsize:
        raise DataError(f"{part} has not as many bytes as its shape needs", hint="make the bundle again")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)


def _fits(shape: tuple[int, ...], spec: TensorSpec, samples: int) -> bool:
    inner = spec.shape[1:]
    whole = len(shape) == len(inner) + 1 and shape[0] == samples
    return whole and all(want is None or want == length for want, length in zip(inner, shape[1:], strict=True))
