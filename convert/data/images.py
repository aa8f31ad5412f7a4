"""What must be done to an image file because of the model's input alone: decode, resize, order of the axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tinsmith.runtime.errors import DataError
from tinsmith.runtime.preprocessing import CenterCrop, ChannelsFirst, Decode, Preprocessing, Resize

if TYPE_CHECKING:
    from tinsmith.runtime.preprocessing import Operation
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["ImageShape", "image_preprocessing", "image_shape"]

_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShape:
    """How a model takes an image.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: 3 for red, green, blue; 1 for grey.
        layout: Whether the channels come last (TensorFlow) or first (ONNX from PyTorch).
    """

    height: int
    width: int
    channels: int
    layout: Literal["channels-last", "channels-first"]


def image_shape(spec: TensorSpec) -> ImageShape:
    """Read an input's shape as that of an image.

    Raises:
        DataError: It has not the four axes of a batch of images with one or three channels, or its size is free.
    """
    shape = spec.shape
    if len(shape) == 4 and shape[3] in _CHANNELS:
        height, width, channels = shape[1:]
        layout: Literal["channels-last", "channels-first"] = "channels-last"
    elif len(shape) == 4 and shape[1] in _CHANNELS:
        channels, height, width = shape[1:]
        layout = "channels-first"
    else:
        raise DataError(
            f"images were given, but the model's input {spec.name!r} has shape {list(shape)}",
            hint="images go into [n, height, width, 1 or 3] or [n, 1 or 3, height, width]; give an .npz otherwise",
        )
    if height is None or width is None or channels is None:
        raise DataError(
            f"the model's input {spec.name!r} takes images of any size, so it is open how to resize",
            hint="name a resize operation in a data.yaml, or fix the height and width when exporting the model",
        )
    return ImageShape(height=height, width=width, channels=channels, layout=layout)


def image_preprocessing(given: Preprocessing | None, spec: TensorSpec | None) -> Preprocessing:
    """Complete what a data.yaml says by what the model's input leaves no choice about.

    An image is decoded with the model's channels, stretched to its size by bilinear filtering where no operation sets a
    size, and its channels come first where the model wants them first. Operations that are given stay as they are.

    Raises:
        DataError: As ``image_shape``, where something must follow from it.
    """
    operations = list(given.operations) if given else []
    if spec is None:
        return Preprocessing(operations=(*_missing(operations, Decode()), *operations))
    if _has(operations, (Resize, CenterCrop)):
        channels, first = _channels(spec)
        size: list[Operation] = []
    else:
        shape = image_shape(spec)
        channels, first = shape.channels, shape.layout == "channels-first"
        size = [Resize(height=shape.height, width=shape.width)]
    head = _missing(operations, Decode(channels="grey" if channels == 1 else "rgb"))
    if not head and isinstance(operations[0], Decode):
        head = [operations.pop(0)]
    tail = _missing(operations, ChannelsFirst()) if first else []
    return Preprocessing(operations=(*head, *size, *operations, *tail))


def _missing(operations: list[Operation], operation: Operation) -> list[Operation]:
    return [] if _has(operations, type(operation)) else [operation]


def _has(operations: list[Operation], kinds: type[Operation] | tuple[type[Operation], ...]) -> bool:
    return any(isinstance(operation, kinds) for operation in operations)


def _channels(spec: TensorSpec) -> tuple[int, bool]:
    """How many channels the input takes, and whether they come first."""
    shape = spec.shape
    if len(shape) == 4 and shape[3] not in _CHANNELS and shape[1] in _CHANNELS:
        return shape[1] or 3, True
    return (shape[3] or 3) if len(shape) == 4 else 3, False
