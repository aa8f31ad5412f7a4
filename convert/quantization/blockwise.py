"""Matrices in blocks of 4 or 8 bits, as onnxruntime's MatMulNBits takes them.

Each column of a [K, N] matrix is cut into blocks of ``block_size`` along K, and each block has a scale of its own (and
a zero point, unless it is symmetric). Rounding is to the nearest step ("RTN"); onnxruntime's own kernel does it, so
that the numbers are its numbers bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCK_SIZES", "Blocks", "Packed", "pack", "unpack"]

BLOCK_SIZES = (16, 32, 64, 128, 256)
_BYTE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """How a matrix is packed.

    Attributes:
        bits: Of a weight.
        block_size: Weights that share a scale: 16, 32, 64, 128 or 256.
        symmetric: Whether zero lies in the middle of the steps, and no zero point is stored.
    """

    bits: Literal[4, 8] = 4
    block_size: int = 32
    symmetric: bool = False

    def __post_init__(self) -> None:
        """Hold the size to what MatMulNBits takes; raises ``RecipeError``."""
        if self.block_size not in BLOCK_SIZES:
            sizes = ", ".join(str(size) for size in BLOCK_SIZES)
            raise RecipeError(f"there are no blocks of {self.block_size}", hint=f"block_size is one of {sizes}")

    def along(self, depth: int) -> int:
        """How many blocks a column of that many weights takes."""
        return -(-depth // self.block_size)

    def shapes(self, depth: int, columns: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of weights, scales and zero points of a [depth, columns] matrix; without the last if symmetric."""
        blocks = self.along(depth)
        packed = (columns, blocks, self.block_size * self.bits // _BYTE)
        points = (columns, -(-blocks * self.bits // _BYTE))
        return (packed, (columns, blocks)) if self.symmetric else (packed, (columns, blocks), points)

    def packed_bytes(self, depth: int, columns: int) -> int:
        """What a [depth, columns] matrix takes, scales and zero points included."""
        packed, scales, *points = self.shapes(depth, columns)
        sizes = [np.prod(packed), 4 * np.prod(scales), *(np.prod(shape) for shape in points)]
        return int(sum(sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A matrix [K, N] in blocks.

    Attributes:
        weights: uint8 of shape [N, blocks, block_size * bits / 8]; of two weights in a byte, the first is the low half.
        scales: float32 of shape [N, blocks].
        zero_points: uint8 of shape [N, ceil(blocks * bits / 8)], packed alike; None where symmetric.
    """

    weights: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8] | None

    @classmethod
    def empty(cls, depth: int, columns: int, blocks: Blocks) -> Packed:
        """All zeros, to be filled part by part."""
        weights, scales, *points = blocks.shapes(depth, columns)
        return cls(
            weights=np.zeros(weights, np.uint8),
            scales=np.zeros(scales, np.float32),
            zero_points=np.zeros(points[0], np.uint8) if points else None,
        )

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Weights, scales and, where there are, zero points: the order of MatMulNBits' inputs."""
        known: tuple[NDArray[np.generic], ...] = (self.weights, self.scales)
        return known if self.zero_points is None else (*known, self.zero_points)


def pack(matrix: NDArray[np.float32], blocks: Blocks) -> Packed:
    """Round a matrix to blocks.

    Args:
        matrix: float32 of shape [K, N], finite; the last block of a column is filled up with zeros.
        blocks: How.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """
    kernels = require("onnxruntime.capi._pybind_state", needed_for="block-wise weights")
    depth, columns = matrix.shape
    padded = blocks.along(depth) * blocks.block_size
    if padded != depth:
        matrix = np.pad(matrix, ((0, padded - depth), (0, 0)))
    made = Packed.empty(depth, columns, blocks)
    # The kernel wants a place for zero points either way.
    points = np.zeros((columns, blocks.along(depth)), np.uint8) if made.zero_points is None else made.zero_points
    kernel = kernels.quantize_matmul_4bits if blocks.bits == 4 else kernels.quantize_matmul_8bits
    matrix = np.ascontiguousarray(matrix)
    kernel(made.weights, matrix, made.scales, points, blocks.block_size, columns, depth, blocks.symmetric)
    return made


def unpack(packed: Packed, blocks: Blocks, depth: int) -> NDArray[np.float32]:
    """What MatMulNBits multiplies with, transposed: float32 of shape [N, K].

    Written after the operator's definition and not with onnxruntime's code, so that the one can judge the other.
    """
    columns, count = packed.scales.shape
    steps = _numbers(packed.weights.reshape(columns, -1), blocks.bits).reshape(columns, count, blocks.block_size)
    real = steps.astype(np.float32)
    if packed.zero_points is None:
        real -= np.float32(1 << (blocks.bits - 1))
    else:
        real -= _numbers(packed.zero_points, blocks.bits)[:, :count, None].astype(np.float32)
    real *= packed.scales[:, :, None]
    return real.reshape(columns, -1)[:, :depth]


def _numbers(stored: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Bytes of shape [rows, n] as the numbers in them, [rows, n * 8 / bits]."""
    if bits == _BYTE:
        return stored
    halves = np.empty((*stored.shape, 2), np.uint8)
    np.bitwise_and(stored, 0xF, out=halves[..., 0])
    np.right_shift(stored, 4, out=halves[..., 1])
    return halves.reshape(len(stored), -1)
