"""A rectangle in a picture, in fractions of its height and width."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Box"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in fractions of a picture; it may jut out. The default is the whole picture.

    Attributes:
        top: 0 is the upper edge, 1 the lower one.
        left: 0 is the left edge, 1 the right one.
        bottom: At least ``top``.
        right: At least ``left``.
    """

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0

    def inside(self, outer: Box) -> Box:
        """The same rectangle in the picture of which ``outer`` is the part that this one's fractions are of."""
        height, width = outer.bottom - outer.top, outer.right - outer.left
        return Box(
            top=outer.top + self.top * height,
            left=outer.left + self.left * width,
            bottom=outer.top + self.bottom * height,
            right=outer.left + self.right * width,
        )
