"""Which samples are for what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.convert.data import Roles, open_dataset
from tinsmith.convert.data.dataset import Dataset
from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.metadata import SPLITS, Metadata
from tinsmith.convert.data.records import RecordSource
from tinsmith.convert.data.source import Origin
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.preprocessing import Preprocessing
from tinsmith.runtime.tensors import TensorSpec

FLOATS = TensorSpec(name="x", dtype="float32", shape=(None, 1))


def samples(count, *, splits=None, labels=True, targets=False):
    fit = Fit(where="memory", spec=FLOATS, preprocessing=Preprocessing())
    facts = Metadata(
        labels=np.arange(count, dtype=np.int64) % 3 if labels else None,
        targets=np.linspace(-1, 1, count, dtype=np.float32)[:, None] if targets else None,
        splits=splits,
    )
    column = np.arange(count, dtype=np.float32)[:, None]
    return Dataset(RecordSource({"x": (column, fit)}, facts, Origin(name="memory", where="memory")))


def places(part):
    return set() if part is None else set(part.positions.tolist())


@settings(max_examples=50)
@given(st.lists(st.sampled_from(SPLITS), min_size=1, max_size=40), st.integers(0, 3))
def test_splits_of_the_user_are_kept_to_and_nothing_touches_the_test_samples(said, seed):
    roles = Roles(samples(len(said), splits=tuple(said)), seed=seed)
    test = {at for at, split in enumerate(said) if split == "test"}
    learned = [places(roles.train)] if "train" in said else []
    calibrated = [places(roles.calibration)] if {"train", "calibration"} & set(said) else []
    used = set().union(*learned, *calibrated, places(roles.validation))
    assert not used & test
    assert places(roles.report) in (
        test, {at for at, split in enumerate(said) if split == "validation"}, set(range(len(said)))
    )  # fmt: skip
    if test:
        assert places(roles.report) == test


@given(st.integers(10, 60), st.integers(0, 3), st.booleans())
def test_a_tenth_is_held_out_where_the_user_has_split_nothing(count, seed, regression):
    roles = Roles(samples(count, labels=not regression, targets=regression), seed=seed)
    held_out, learned = places(roles.validation), places(roles.train)
    assert len(held_out) == round(count / 10)
    assert held_out | learned == set(range(count))
    assert not held_out & learned
    assert places(roles.calibration) == places(roles.report) == set(range(count))


def test_without_answers_nothing_can_be_chosen_by():
    roles = Roles(samples(50, labels=False), seed=0)
    assert roles.validation is None
    assert len(roles.train) == 50


def test_shares_of_a_data_yaml_are_the_users_word(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.arange(100, dtype=np.float32)[:, None], y=np.arange(100) % 2)
    (tmp_path / "data.yaml").write_text("source: d.npz\nsplit: {train: 0.5, test: 0.5}\n")
    roles = Roles(open_dataset(tmp_path / "data.yaml", (FLOATS,)), seed=1)
    assert len(roles.train) == len(roles.report) == 50
    assert places(roles.calibration) == places(roles.train)
    assert not places(roles.train) & places(roles.report)
    assert roles.validation is None


def test_samples_for_testing_alone_can_not_be_learned_from():
    roles = Roles(samples(6, splits=("test",) * 6), seed=0)
    for role in ("train", "calibration"):
        with pytest.raises(DataError, match="no train split"):
            getattr(roles, role)
