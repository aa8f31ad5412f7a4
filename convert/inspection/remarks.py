"""What a reader of an inspection should not miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tinsmith.convert.inspection.graph import Graph

__all__ = ["remarks"]

_FLOAT32_NAMES = ("float32", "fp32", "f32", "float")
_FLOAT16_NAMES = ("float16", "fp16", "f16")
_QUANTIZED_NAMES = ("int8", "quant", "int4", "w8a8")
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_LOOPS = ("WHILE", "Loop", "Scan")


def remarks(path: Path, graph: Graph, shares: Mapping[str, float]) -> tuple[str, ...]:
    """What is odd about an artifact, one sentence each; ``shares`` are those of the precisions."""
    return (*_lies(path.stem.lower(), shares), *_obstacles(graph), *graph.flaws)


def _lies(name: str, shares: Mapping[str, float]) -> Iterator[str]:
    """A name that says another precision than the operators have."""
    quantized = [share for share in shares if "int" in share and share != "integer"]
    real = sum(share for precision, share in shares.items() if precision in _FLOATS)
    inside = ", ".join(f"{share:.0%} {precision}" for precision, share in shares.items())
    if any(word in name for word in _QUANTIZED_NAMES):
        if real > 0.5:
            yield f"the name says quantized, but inside it is {inside}"
    elif any(word in name for word in _FLOAT16_NAMES):
        if shares and "float16" not in shares:
            yield f"the name says float16, but inside it is {inside}"
    elif any(word in name for word in _FLOAT32_NAMES) and quantized:
        yield f"the name says float, but inside it is {inside}"


def _obstacles(graph: Graph) -> Iterator[str]:
    if not graph.operators:
        yield "it holds no operators"
    if custom := sorted({o.name for o in graph.operators if o.custom and not o.name.startswith("Flex")}):
        yield f"{', '.join(custom)}: custom, so that the runtime needs their code"
    if flex := sorted({o.name for o in graph.operators if o.custom and o.name.startswith("Flex")}):
        yield f"{', '.join(flex)}: the runtime needs the Flex delegate, and with it most of TensorFlow"
    if any(n is None for tensor in graph.inputs for n in tensor.shape[1:]):
        yield "an axis beside the batch is free and counts as 1: the MACs are too low"
    if loops := sorted({o.name for o in graph.operators if o.name in _LOOPS}):
        yield f"{', '.join(loops)}: a loop's operators count once, however often it runs"
