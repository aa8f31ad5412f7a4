"""Operations on text: to token numbers, and to one length."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinsmith.runtime.errors import DataError, first_line
from tinsmith.runtime.operation import check_count, check_numbers
from tinsmith.runtime.preprocessing.operation import Operation, as_array

if TYPE_CHECKING:
    from pathlib import Path

    from tinsmith.runtime.preprocessing.operation import Array, Content, Raw

__all__ = ["Pad", "Tokenise", "read_lines", "read_vocabulary"]

_NUMBERED = re.compile(r"(\S+)[ \t]+(\d+)")
_MOST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenise(Operation):
    r"""Split text into words, and look up the number of each.

    Attributes:
        vocabulary: The words in the order of their numbers, from 0; an empty one holds a number that no word has.
        split: A regular expression for what stands between words, such as ``[^\w']+``.
        start: A word of the vocabulary that is put before the others; None for none.
        unknown: A word of the vocabulary that stands for all words outside it; None leaves them out.
        lowercase: Whether the text is turned into lower case first.
    """

    kind: ClassVar[str] = "tokenise"
    takes: ClassVar[Content] = "text"

    vocabulary: tuple[str, ...]
    split: str = r"\s+"
    start: str | None = None
    unknown: str | None = None
    lowercase: bool = True
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.vocabulary, tuple) or not all(isinstance(word, str) for word in self.vocabulary):
            raise self.refuse("vocabulary must be a list of words", "quote words that YAML takes for something else")
        if not isinstance(self.lowercase, bool):
            raise self.refuse(f"lowercase must be true or false, not {self.lowercase!r}")
        try:
            re.compile(self.split)
        except (re.error, TypeError) as error:
            raise self.refuse(f"split {self.split!r} is no regular expression: {error}") from error
        for name, word in (("start", self.start), ("unknown", self.unknown)):
            if word is not None and word not in self.vocabulary:
                raise self.refuse(f"{name} {word!r} does not stand in the vocabulary")
        object.__setattr__(self, "_numbers", {word: number for number, word in enumerate(self.vocabulary) if word})

    def apply(self, sample: Raw) -> Array:
        """Turn text into int32 [words], however many there are.

        Raises:
            DataError: It is no text.
        """
        if not isinstance(sample, str):
            raise self.refuse(f"the sample is no text but {type(sample).__name__}")
        words = re.split(self.split, sample.lower() if self.lowercase else sample)
        unknown = None if self.unknown is None else self._numbers[self.unknown]
        found = [] if self.start is None else [self._numbers[self.start]]
        found += [n for n in (self._numbers.get(word, unknown) for word in words if word) if n is not None]
        return np.asarray(found, dtype=np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Operation):
    """Bring a sequence to one length: cut its end off, or fill it up at its end.

    Attributes:
        length: Entries of the first axis.
        value: What it is filled up with.
    """

    kind: ClassVar[str] = "pad"

    length: int
    value: float = 0

    def __post_init__(self) -> None:
        check_count(self, length=self.length)
        check_numbers(self, value=self.value)

    def apply(self, sample: Raw) -> Array:
        """Pad numbers along the first axis; the dtype stays.

        Raises:
            DataError: It is a single number, or the value does not fit its dtype.
        """
        array = as_array(self, sample)
        if array.ndim == 0:
            raise self.refuse("the sample is a single number, not a sequence")
        if array.dtype.kind in "iu" and not (float(self.value).is_integer() and _fits(self.value, array.dtype)):
            raise self.refuse(f"the value {self.value} does not fit {array.dtype}")
        value = int(self.value) if array.dtype.kind in "iu" else float(self.value)
        result = np.full((self.length, *array.shape[1:]), value, dtype=array.dtype)
        result[: len(array)] = array[: self.length]
        return result


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Read a vocabulary file: one word a line, or one word and its number a line.

    Raises:
        DataError: It can't be read, holds no words, or gives two words one number.
    """
    lines = read_lines(path, "vocabulary")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if not all(numbered):
        return lines
    words = {int(match[2]): match[1] for match in numbered if match}
    if len(words) < len(lines) or max(words) > _MOST_TOKENS:
        raise DataError(f"the vocabulary {path} gives two words one number, or a number beyond {_MOST_TOKENS:,}")
    return tuple(words.get(number, "") for number in range(max(words) + 1))


def read_lines(path: Path, what: str) -> tuple[str, ...]:
    """Read a UTF-8 file of one name a line; empty lines at its end are none.

    Args:
        path: The file.
        what: What to call it in messages.

    Raises:
        DataError: It can't be read, or holds nothing.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the {what} {path}: {first_line(error)}", hint="check its path") from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"the {what} {path} is empty", hint="write one a line")
    return tuple(lines)


def _fits(value: float, dtype: np.dtype[np.generic]) -> bool:
    limits = np.iinfo(dtype.name)
    return bool(limits.min <= value <= limits.max)
