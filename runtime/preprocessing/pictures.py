"""Operations on pictures: decode, resize, crop, and the order of the axes.

A picture is an array [height, width, channels], channels last, until ``ChannelsFirst``.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tinsmith.runtime.box import Box
from tinsmith.runtime.errors import MissingDependencyError, UnreadableSampleError, first_line
from tinsmith.runtime.operation import check_choice, check_count
from tinsmith.runtime.preprocessing.operation import Operation, as_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinsmith.runtime.preprocessing.operation import Array, Content, Raw, Shape, Size

__all__ = ["CenterCrop", "ChannelsFirst", "Decode", "Resize", "picture_size"]

# Those that Pillow reads by itself: an EPS would start Ghostscript on whatever a stranger wrote. Frequent ones first.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "DIB", "ICO", "JPEG2000", "TGA")
_MOST_PIXELS = 89_478_485  # Pillow's own limit: a quarter of a gigabyte in three colours

_MODES = {"rgb": ("RGB", 3), "grey": ("L", 1)}
_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_FITS = ("stretch", "cover", "contain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode(Operation):
    """Read an image file: JPEG, PNG, BMP, GIF, WebP, TIFF, PPM, ICO, JPEG 2000 or TGA; the first picture of several.

    Lossless files give the same pixels everywhere; those of a JPEG may differ by one from one libjpeg to another.

    Attributes:
        channels: ``rgb`` for red, green, blue; ``grey`` for one channel (ITU-R 601-2 luma).
    """

    kind: ClassVar[str] = "decode"
    takes: ClassVar[Content] = "file"

    channels: Literal["rgb", "grey"] = "rgb"

    def __post_init__(self) -> None:
        if self.channels not in _MODES:
            raise self.refuse(f"channels must be rgb or grey, not {self.channels!r}")

    def apply(self, sample: Raw) -> Array:
        """Decode a path or the bytes of a file; an array passes if it has these channels already.

        Returns:
            uint8 [height, width, 3 or 1], 0 to 255.

        Raises:
            UnreadableSampleError: It can't be read as an image, or would unfold into gigabytes.
            DataError: It is text, or an array with other channels.
            MissingDependencyError: Pillow is not installed.
        """
        mode, count = _MODES[self.channels]
        if isinstance(sample, np.ndarray):
            if sample.ndim == 3 and sample.shape[2] == count:
                return sample
            raise self.refuse(f"an array of shape {list(sample.shape)} is no {self.channels} picture")
        if isinstance(sample, str):
            raise self.refuse("the sample is text, not an image file")
        with _opened(sample, _MOST_PIXELS) as image:
            # a conversion to the same mode is a copy, and large pictures have no room for it
            picture = image if image.mode == mode else image.convert(mode)
            picture.load()
            pixels = np.asarray(picture, dtype=np.uint8)
        return pixels.reshape(*pixels.shape[:2], count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Operation):
    """Change a picture's size with Pillow's filters, the same on every machine.

    Attributes:
        height: In pixels.
        width: In pixels.
        filter: How pixels are mixed: ``nearest``, ``box``, ``bilinear``, ``hamming``, ``bicubic`` or ``lanczos``.
        fit: What becomes of the aspect ratio. ``stretch`` changes it; ``cover`` keeps it and cuts off what juts out on
            both sides; ``contain`` keeps it and fills both sides with zeros.
    """

    kind: ClassVar[str] = "resize"

    height: int
    width: int
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    fit: Literal["stretch", "cover", "contain"] = "stretch"

    def __post_init__(self) -> None:
        check_count(self, height=self.height, width=self.width)
        check_choice(self, _FILTERS, filter=self.filter)
        check_choice(self, _FITS, fit=self.fit)
        self._check_affordable(self.height, self.width)

    def apply(self, sample: Raw) -> Array:
        """Resize a picture [height, width, channels] of uint8, or of real numbers as float32; the dtype stays.

        Raises:
            DataError: It is no such picture, or so thin that to cover both sides it would fill the memory.
            MissingDependencyError: Pillow is not installed.
        """
        picture = _as_picture(self, sample)
        if self.fit == "stretch":
            return self._scaled(picture, self.height, self.width)
        height, width = self._in_ratio(picture.shape[0], picture.shape[1])
        return _centred(self._scaled(picture, height, width), self.height, self.width)

    def framing(self, size: Size) -> tuple[Box, Size]:
        """All of it, or more or less of it where the aspect ratio is kept."""
        scaled = (self.height, self.width) if self.fit == "stretch" else self._in_ratio(*size)
        return _centre(scaled, (self.height, self.width)), (self.height, self.width)

    def _in_ratio(self, height: int, width: int) -> Size:
        """The size at which it covers, or is contained, with its aspect ratio."""
        ratios = self.height / height, self.width / width
        ratio = max(ratios) if self.fit == "cover" else min(ratios)
        return max(1, round(height * ratio)), max(1, round(width * ratio))

    def _check_affordable(self, height: int, width: int) -> None:
        if height * width > _MOST_PIXELS:
            raise self.refuse(f"the picture would get {height} x {width} pixels, more than {_MOST_PIXELS:,}")

    def _scaled(self, picture: Array, height: int, width: int) -> Array:
        self._check_affordable(height, width)
        pillow = _pillow()
        method = pillow.Resampling[self.filter.upper()]
        if picture.dtype == np.uint8 and picture.shape[2] == 3:
            return np.asarray(pillow.fromarray(np.ascontiguousarray(picture)).resize((width, height), method))
        bands = [
            np.asarray(pillow.fromarray(np.ascontiguousarray(picture[:, :, band])).resize((width, height), method))
            for band in range(picture.shape[2])
        ]
        return np.stack(bands, axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CenterCrop(Operation):
    """Cut the middle out of a picture.

    Attributes:
        height: In pixels.
        width: In pixels.
    """

    kind: ClassVar[str] = "center-crop"

    height: int
    width: int

    def __post_init__(self) -> None:
        check_count(self, height=self.height, width=self.width)

    def apply(self, sample: Raw) -> Array:
        """Cut a picture [height, width, channels]; an odd margin is one pixel wider at the bottom and the right.

        Raises:
            DataError: It is no picture, or smaller than the cut.
        """
        picture = _as_picture(self, sample)
        if picture.shape[0] < self.height or picture.shape[1] < self.width:
            raise self.refuse(
                f"a picture of {picture.shape[0]}x{picture.shape[1]} is smaller than {self.height}x{self.width}",
                "put a resize operation before it",
            )
        return _centred(picture, self.height, self.width)

    def framing(self, size: Size) -> tuple[Box, Size]:
        """The middle."""
        return _centre(size, (self.height, self.width)), (self.height, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsFirst(Operation):
    """Turn [height, width, channels] into [channels, height, width], as models from PyTorch take it."""

    kind: ClassVar[str] = "channels-first"

    def apply(self, sample: Raw) -> Array:
        """Move the channels; raises ``DataError`` if it is no picture."""
        return np.ascontiguousarray(_as_picture(self, sample).transpose(2, 0, 1))

    def shape_before(self, shape: Shape) -> Shape | None:
        """With the channels last."""
        return (*shape[1:], shape[0]) if len(shape) == 3 else None


def _as_picture(operation: Operation, sample: Raw) -> NDArray[Any]:
    array = as_array(operation, sample)
    if array.ndim != 3 or 0 in array.shape:
        raise operation.refuse(f"an array of shape {list(array.shape)} is no picture [height, width, channels]")
    if array.dtype == np.uint8 or array.dtype.kind != "f":
        if array.dtype != np.uint8:
            raise operation.refuse(f"a picture holds uint8 or real numbers, not {array.dtype}")
        return array
    return array.astype(np.float32, copy=False)


def _centred(picture: Array, height: int, width: int) -> Array:
    """Cut or fill with zeros, the same on both sides; what is odd goes to the bottom and the right."""
    result = np.zeros((height, width, picture.shape[2]), dtype=picture.dtype)
    (from_y, to_y, rows), (from_x, to_x, columns) = (
        (max(0, (have - want) // 2), max(0, (want - have) // 2), min(have, want))
        for have, want in zip(picture.shape, (height, width), strict=False)
    )
    result[to_y : to_y + rows, to_x : to_x + columns] = picture[from_y : from_y + rows, from_x : from_x + columns]
    return result


def _centre(have: Size, want: Size) -> Box:
    """The part of a picture that ``_centred`` keeps; beyond its edges where it is filled up."""
    (top, bottom), (left, right) = (_span(*lengths) for lengths in zip(have, want, strict=True))
    return Box(top=top, left=left, bottom=bottom, right=right)


def _span(have: int, want: int) -> tuple[float, float]:
    start = (have - want) // 2 if have > want else -((want - have) // 2)
    return start / have, (start + want) / have


def picture_size(sample: Path | bytes, *, most_pixels: int = _MOST_PIXELS) -> tuple[int, int]:
    """Height and width of an image file, from its head alone.

    Raises:
        UnreadableSampleError: It can't be read as an image, or has more pixels.
        MissingDependencyError: Pillow is not installed.
    """
    with _opened(sample, most_pixels) as image:
        return image.height, image.width


@contextlib.contextmanager
def _opened(sample: Path | bytes, most_pixels: int) -> Iterator[Any]:
    pillow = _pillow()
    try:
        with pillow.open(sample if isinstance(sample, Path) else io.BytesIO(sample), formats=_FORMATS) as image:
            _check_pixels(sample, image, most_pixels)
            yield image
    except UnreadableSampleError:
        raise
    except pillow.UnidentifiedImageError as error:
        raise _unreadable(sample, f"it is none of {', '.join(_FORMATS)}, or damaged") from error
    except Exception as error:  # Pillow's decoders raise whatever they please, SyntaxError included
        raise _unreadable(sample, first_line(error)) from error


def _check_pixels(sample: Path | bytes, image: Any, most: int) -> None:
    """Hold a picture to a size before it is unfolded: a few kilobytes may become gigabytes."""
    if image.width * image.height > most:
        raise _unreadable(sample, f"{image.width} x {image.height} pixels are more than {most:,}")


def _unreadable(sample: Path | bytes, why: str) -> UnreadableSampleError:
    name = str(sample) if isinstance(sample, Path) else f"a sample of {len(sample)} bytes"
    return UnreadableSampleError(
        f"{name} can't be read as an image: {why}", hint="mend the file, or move it out of the folder"
    )


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("Pillow", extra="images", needed_for="reading images") from error
    return Image
