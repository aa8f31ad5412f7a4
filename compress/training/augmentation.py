"""Images in other places and mirrored, drawn anew each time they are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tinsmith.compress.training.settings import Augmentation

__all__ = ["augmented"]

# Of the shorter edge; 4 pixels of 32, as the residual networks of He et al. 2016 were trained on CIFAR.
_SHIFT_SHARE = 8


def augmented(
    images: NDArray[np.float32], kinds: Sequence[Augmentation], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Change each image of a batch in its own way.

    Args:
        images: [n, height, width, channels].
        kinds: What to do.
        rng: Of all chance.

    Returns:
        The same shape; what a shift uncovers holds the edge's pixels.
    """
    if "flip" in kinds:
        mirrored = rng.random(len(images)) < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    if "shift" in kinds:
        images = _shifted(images, rng)
    return images


def _shifted(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    count, height, width, _ = images.shape
    reach = max(1, min(height, width) // _SHIFT_SHARE)
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    corners = rng.integers(0, 2 * reach + 1, size=(count, 2))
    return np.stack([padded[at, y : y + height, x : x + width] for at, (y, x) in enumerate(corners)])
