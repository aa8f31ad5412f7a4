"""Write a flatbuffer in which everything that is equal is stored once.

The accessors that ai-edge-litert ships write through a ``Builder``; theirs writes each vector, string and table anew.
A flatbuffer is read by following offsets, so any number of them may lead to one place. Children are written before
their parents, so equal tables have equal offsets inside, and comparing what stands in their fields is enough.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["write_model"]

_MAGIC = b"TFL3"
# Of buffers, as the schema's force_align says; XNNPACK and TFLM read weights with instructions that need it.
_ALIGNMENT_BYTES = 16
_SHORT_BYTES = 64
_WORD_BYTES = 4  # the length that stands before each vector


def write_model(model: Any) -> bytes:
    """Write a ``ModelT``: the same model gives the same bytes."""
    from flatbuffers import Builder  # the accessors are made for it, and need it themselves

    builder: Any = type("SharingBuilder", (_Sharing, Builder), {})()
    _write_aligned(builder, model)
    builder.Finish(model.Pack(builder), file_identifier=_MAGIC)
    return bytes(builder.Output())


def _write_aligned(builder: Any, model: Any) -> None:
    """Write first what must be aligned, with small vectors in the gaps that leaves; ``Pack`` finds all of them."""
    leaves = _leaves(model)
    for vector in _aligned(model):
        alignment = _ALIGNMENT_BYTES if vector.dtype == np.uint8 else vector.itemsize
        for _ in range(_ALIGNMENT_BYTES // _WORD_BYTES):
            room = -(builder.Offset() + vector.nbytes) % alignment
            size = next((n for n in sorted(leaves, reverse=True) if 0 < n % alignment <= room and leaves[n]), None)
            if size is None:
                break
            _write_leaf(builder, leaves[size].pop())
        builder.CreateNumpyVector(vector)


def _aligned(model: Any) -> Iterator[NDArray[Any]]:
    """Buffers, and then zero points, which have eight bytes each."""
    vectors = [buffer.data for buffer in model.buffers or []]
    quantizations = [tensor.quantization for graph in model.subgraphs or [] for tensor in graph.tensors or []]
    vectors += {_key(q.zeroPoint): q.zeroPoint for q in quantizations if q is not None}.values()
    return (vector for vector in vectors if isinstance(vector, np.ndarray) and vector.size)


def _leaves(model: Any) -> dict[int, list[Any]]:
    """Each name and each vector of four-byte numbers once, by what it fills of a gap: its size beyond whole gaps."""
    found: dict[tuple[str, bytes], Any] = {}
    for graph in model.subgraphs or []:
        for operator in graph.operators or []:
            found |= {_key(vector): vector for vector in (operator.inputs, operator.outputs)}
        for tensor in graph.tensors or []:
            scale = None if tensor.quantization is None else tensor.quantization.scale
            found |= {_key(leaf): leaf for leaf in (tensor.name, tensor.shape, tensor.shapeSignature, scale)}
    leaves: dict[int, list[Any]] = {}
    for (kind, payload), leaf in found.items():
        if kind:
            ended = len(payload) + (kind == "string")
            size = -(-(_WORD_BYTES + ended) // _WORD_BYTES) * _WORD_BYTES
            leaves.setdefault(size % _ALIGNMENT_BYTES or _ALIGNMENT_BYTES, []).append(leaf)
    return leaves


def _key(leaf: Any) -> tuple[str, bytes]:
    """What tells leaves apart; no kind for what is not there, or is written by ``Pack`` alone."""
    if isinstance(leaf, bytes):
        return "string", leaf
    return (leaf.dtype.str, leaf.tobytes()) if isinstance(leaf, np.ndarray) else ("", b"")


def _write_leaf(builder: Any, leaf: Any) -> None:
    if isinstance(leaf, bytes):
        builder.CreateString(leaf)
    else:
        builder.CreateNumpyVector(leaf)


class _Sharing:
    """Stands before flatbuffers' ``Builder``, and remembers the place of all that it has written."""

    Bytes: bytearray
    head: int
    nested: bool

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[tuple[Any, ...], int] = {}
        self._fields: list[tuple[int, int, bytes, Callable[[], None]]] = []
        self._slots = 0

    @property
    def _plain(self) -> Any:
        """The ``Builder`` behind this class."""
        return super()

    def CreateString(self, s: bytes | str, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        text = s.encode(encoding, errors) if isinstance(s, str) else s
        return self._once(("string", text), lambda: int(self._plain.CreateString(text)))

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
        payload = x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes()
        # Bytes are weights, or options of custom operators, which hold structures of their own.
        alignment = _ALIGNMENT_BYTES if x.dtype == np.uint8 and payload else x.itemsize
        key = ("vector", alignment, x.size, _brief(payload))
        return self._once(key, lambda: self._vector(payload, x.size, alignment))

    def StartObject(self, numfields: int) -> None:  # noqa: N802
        """Begin to collect fields; nothing is written before it is known that the table is new."""
        self._plain.assertNotNested()
        self.nested = True
        self._fields = []
        self._slots = numfields

    def PrependSlot(self, flags: Any, o: int, x: Any, d: Any) -> None:  # noqa: N802
        if x != d:
            stored = flags.packer_type.pack(x)
            self._fields.append((flags.bytewidth, o, stored, lambda: self._plain.Prepend(flags, x)))

    def PrependUOffsetTRelativeSlot(self, o: int, x: int, d: int) -> None:  # noqa: N802
        if x != d:
            stored = b"to" + int(x).to_bytes(4, "little")
            self._fields.append((4, o, stored, lambda: self._plain.PrependUOffsetTRelative(x)))

    def EndObject(self) -> int:  # noqa: N802
        self._plain.assertNested()
        self.nested = False
        # The widest fields last, which is first in the file: no padding between them.
        fields = sorted(self._fields, key=lambda field: field[:2])
        key = ("table", *(field[1:3] for field in fields))
        return self._once(key, lambda: self._table(fields))

    def _table(self, fields: list[tuple[int, int, bytes, Callable[[], None]]]) -> int:
        self._plain.StartObject(self._slots)
        for _, slot, _, write in fields:
            write()
            self._plain.Slot(slot)
        return int(self._plain.EndObject())

    def _vector(self, payload: bytes, count: int, alignment: int) -> int:
        self._plain.StartVector(len(payload) // max(count, 1), count, alignment)
        self.head -= len(payload)
        self.Bytes[self.head : self.head + len(payload)] = payload
        return int(self._plain.EndVector())

    def _once(self, key: tuple[Any, ...], write: Callable[[], int]) -> int:
        if key not in self._places:
            self._places[key] = write()
        return self._places[key]


def _brief(payload: bytes) -> bytes:
    """What stands for the payload as a key beside its length, so that weights are not held twice."""
    return payload if len(payload) <= _SHORT_BYTES else hashlib.sha256(payload).digest()
