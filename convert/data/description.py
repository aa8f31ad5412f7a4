"""``data.yaml``: a source of samples, and what is to be done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tinsmith.convert.data.shares import Shares
from tinsmith.convert.documents import mistakes, read_mapping
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.preprocessing import Operation, Preprocessing, operation_from_json, read_lines, read_vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

__all__ = ["Description", "SplitDescription", "read_description"]

_HINT = "a data.yaml holds source, and perhaps preprocess, labels, split, slices and captured; the README shows one"


def _columns(item: Any) -> Any:
    """Names of columns; a single one may stand by itself."""
    return [item] if isinstance(item, str) else item


def _operation(item: Any) -> Operation:
    """An operation of ``preprocess:``; pydantic adds the place to what is wrong with it."""
    try:
        return operation_from_json(item)
    except DataError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


class SplitDescription(BaseModel):
    """How the samples are split: by shares, by a column of the table, or by one folder a split.

    Attributes:
        column: The column that names each sample's split.
        folders: Whether the source is a folder of split folders, each with the class folders.
        train: Share of the samples, 0 to 1; so are the other three.
        calibration: See ``train``.
        validation: See ``train``.
        test: See ``train``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str | None = None
    folders: bool = False
    train: float = Field(0.0, ge=0, le=1)
    calibration: float = Field(0.0, ge=0, le=1)
    validation: float = Field(0.0, ge=0, le=1)
    test: float = Field(0.0, ge=0, le=1)

    @property
    def shares(self) -> Shares | None:
        """The shares; None where the source itself says the splits."""
        shares = (self.train, self.calibration, self.validation, self.test)
        return Shares(**dict(zip(Shares.NAMES, shares, strict=True))) if any(shares) else None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        total = self.train + self.calibration + self.validation + self.test
        if (self.column is not None) + self.folders + (total > 0) != 1:
            raise ValueError("name either shares, or a column, or `folders: true`")
        if total > 0 and abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return self


class Description(BaseModel):
    """What stands in a data.yaml.

    Attributes:
        source: A dataset as ``--data`` takes it, but no other data.yaml; paths are relative to the file.
        preprocess: What is done to each sample; None for what follows from the model's input alone.
        labels: The set of labels in the order of their numbers: a list, or a file with one a line.
        split: How the samples are split; None leaves it to the source.
        slices: Columns to report on slice by slice, such as ``camera``; empty takes ``slice`` where there is one.
        captured: Files of samples as the model takes them, such as ``serve --capture`` writes; they have no labels,
            and only ranges are found on them. A data.yaml that says nothing else may name another one as its source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, coerce_numbers_to_str=True)

    source: str
    preprocess: tuple[Annotated[Operation, BeforeValidator(_operation)], ...] | None = None
    labels: tuple[str, ...] | None = None
    split: SplitDescription | None = None
    slices: Annotated[tuple[str, ...], BeforeValidator(_columns)] = ()
    captured: Annotated[tuple[str, ...], BeforeValidator(_columns)] = ()

    @property
    def adds_captured_alone(self) -> bool:
        """Whether nothing but captured samples is said of the source."""
        return bool(self.captured) and self == Description(source=self.source, captured=self.captured)

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The operations as a pipeline."""
        return None if self.preprocess is None else Preprocessing(operations=self.preprocess)


def read_description(path: Path) -> Description:
    """Read a data.yaml.

    Returns:
        The description, with the files that it names for labels and vocabularies read.

    Raises:
        DataError: It is no YAML, holds an unknown key or a wrong value (says where), or names a missing file.
    """
    document = read_mapping(path, what="data.yaml", holds="source, and what is done with it", error=DataError)
    try:
        return Description.model_validate(_with_files(document, path))
    except ValidationError as error:
        raise DataError(mistakes(document, path, error), hint=_HINT) from None


def _with_files(document: Any, path: Path) -> dict[str, Any]:
    """The document, with the content of a vocabulary or a labels file in place of its name."""
    content = dict(document)
    if isinstance(content.get("labels"), str):
        content["labels"] = read_lines(path.parent / content["labels"], "file of labels")
    if isinstance(content.get("preprocess"), list):
        content["preprocess"] = [_with_vocabulary(item, path) for item in content["preprocess"]]
    return content


def _with_vocabulary(item: Any, path: Path) -> Any:
    if isinstance(item, dict) and isinstance(item.get("vocabulary"), str):
        return {**item, "vocabulary": list(read_vocabulary(path.parent / item["vocabulary"]))}
    return item
