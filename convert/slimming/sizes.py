"""What a .tflite file's bytes are spent on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["parts_of"]


def parts_of(model: Any, whole: int, attached: int) -> dict[str, int]:
    """Bytes by part, vectors that share one place counted once; they add up to ``whole``.

    Args:
        model: A ``ModelT`` as it was read, so that its vectors still lie in the file.
        whole: Bytes of the file.
        attached: Of those, the archive behind the model.
    """
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors or []]
    quantizations = [tensor.quantization for tensor in tensors if tensor.quantization is not None]
    parts = {
        "buffers": _stored(buffer.data for buffer in model.buffers or []),
        "scales": _stored(q.scale for q in quantizations),
        "zero points": _stored(q.zeroPoint for q in quantizations),
        "min and max": _stored(vector for q in quantizations for vector in (q.min, q.max)),
        "shapes": _stored(vector for t in tensors for vector in (t.shape, t.shapeSignature)),
        "tensor names": sum(len(name) + 1 for name in {tensor.name for tensor in tensors if tensor.name}),
        "attached files": attached,
    }
    return {"file": whole, **parts, "structure": whole - sum(parts.values())}


def _stored(vectors: Iterable[Any]) -> int:
    places = {(v.__array_interface__["data"][0], v.nbytes) for v in vectors if v is not None}
    return sum(size for _, size in places)
