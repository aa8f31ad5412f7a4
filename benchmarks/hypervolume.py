"""How much of the space below a reference point a set of points covers (Zitzler 1999); everything is made small."""

from __future__ import annotations


def hypervolume(points, reference):
    """Of points with any number of values; those that are not below the reference in everything cover nothing.

    Slices along the last value: what is covered does not change between two of them.
    """
    inside = sorted((tuple(point) for point in points if all(a < b for a, b in zip(point, reference, strict=True))),
                    key=lambda point: point[-1])  # fmt: skip
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    volume = 0.0
    for number, point in enumerate(inside):
        upper = inside[number + 1][-1] if number + 1 < len(inside) else reference[-1]
        if upper > point[-1]:
            slice_ = hypervolume([other[:-1] for other in inside[: number + 1]], reference[:-1])
            volume += slice_ * (upper - point[-1])
    return volume
