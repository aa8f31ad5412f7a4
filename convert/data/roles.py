"""Which samples are for what: to learn from, to calibrate on, to choose by, to report on."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tinsmith.runtime.errors import DataError

if TYPE_CHECKING:
    from tinsmith.convert.data.dataset import Dataset, Splits

__all__ = ["Roles"]

_VALIDATION_SHARE = 0.1


class Roles:
    """The samples of a dataset by what may be done with them.

    Where the user says the splits (a column, folders, tfds, shares in a data.yaml), each role gets its split, and a
    test split is never learned from, calibrated or chosen on. Samples without splits are all for calibration; a tenth
    of those with answers is held out from training, by the seed and class by class, to choose by.

    Args:
        dataset: All samples.
        seed: Of the split.
    """

    def __init__(self, dataset: Dataset, *, seed: int) -> None:
        self._dataset = dataset
        self.seed = seed

    @property
    def split_by_user(self) -> bool:
        """Whether the splits are the user's."""
        return self._dataset.split_by_user

    @property
    def train(self) -> Dataset:
        """To learn from; raises ``DataError`` where the splits leave nothing for it."""
        return self._wanted("train") if self.split_by_user else self._held_out[0]

    @property
    def validation(self) -> Dataset | None:
        """To choose by; None where there is nothing, or nothing says what is right."""
        part = self._splits.validation if self.split_by_user else self._held_out[1]
        return part if part is not None and part.has_answers else None

    @property
    def test(self) -> Dataset | None:
        """The test split; None where the user has not made one. Nothing is learned, calibrated or chosen on it."""
        return self._splits.test if self.split_by_user else None

    @property
    def calibration(self) -> Dataset:
        """To find ranges on: its split, or else what is learned from; and what was captured in use."""
        if not self.split_by_user:
            return self._dataset.for_ranges(self._dataset)
        return self._dataset.for_ranges(self._splits.calibration or self._wanted("train"))

    @property
    def report(self) -> Dataset:
        """To report on: the test split, or else that of validation, or else all samples."""
        if not self.split_by_user:
            return self._dataset
        return self._splits.test or self._splits.validation or self._dataset

    @cached_property
    def _splits(self) -> Splits:
        return self._dataset.splits(self.seed)

    @cached_property
    def _held_out(self) -> tuple[Dataset, Dataset | None]:
        dataset = self._dataset
        count = round(len(dataset) * _VALIDATION_SHARE)
        if not dataset.has_answers or count < 1:
            return dataset, None
        if dataset.labels is not None:
            validation, train = dataset.stratified_split(count, seed=self.seed)
            return train, validation
        picked = np.zeros(len(dataset), dtype=bool)
        picked[np.random.default_rng(self.seed).permutation(len(dataset))[:count]] = True
        train_part = dataset.where(~picked, f"the other {len(dataset) - count} samples of {dataset.name}")
        return train_part or dataset, dataset.where(picked, f"{count} samples of {dataset.name}")

    def _wanted(self, split: str) -> Dataset:
        part: Dataset | None = getattr(self._splits, split)
        if part is None:
            raise DataError(
                f"{self._dataset.name} has no {split} split, and its other samples are kept for what they are for",
                hint="put samples into that split; `tinsmith data check` shows the splits",
            )
        return part
