"""How zeros are shared out among layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["erdos_renyi_kernel"]


def erdos_renyi_kernel(shapes: Mapping[str, Sequence[int]], sparsity: float) -> dict[str, float]:
    """More zeros where a kernel has weights to spare: Erdős-Rényi-Kernel of Evci et al. 2020, Rigging the Lottery.

    The share of weights that stay is in proportion to the sum of a kernel's lengths over their product; what would be
    more than all of them stays dense, and the others give more.

    Args:
        shapes: Of the kernels, by the layer's name; lengths of at least 1.
        sparsity: Of all weights together, above 0 and below 1.

    Returns:
        The sparsity of each layer, 0 to below 1; weighted by their sizes they come to ``sparsity``.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    kept = (1 - sparsity) * sum(sizes.values())
    dense: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in dense]
        budget = kept - sum(sizes[name] for name in dense)
        # a kernel's share times its size is the sum of its lengths
        scale = budget / sum(sum(shapes[name]) for name in rest)
        shares = {name: scale * sum(shapes[name]) / sizes[name] for name in rest}
        over = {name for name, share in shares.items() if share > 1}
        if not over:
            return {name: 1 - shares.get(name, 1.0) for name in shapes}
        dense |= over
