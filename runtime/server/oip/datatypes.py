"""The protocol's names of number types."""

from __future__ import annotations

__all__ = ["datatype_of"]

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
    "str": "BYTES",
}


def datatype_of(dtype: str) -> str:
    """The protocol's name for numpy's; a type that the protocol does not know keeps its own, in capitals."""
    return _DATATYPES.get(dtype, dtype.upper())
