"""Samples that were captured in use join those that ranges are found on, and no others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.convert.data import Roles, open_dataset
from tinsmith.convert.data.dataset import Dataset
from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.joining import JoinedSource
from tinsmith.convert.data.metadata import Metadata
from tinsmith.convert.data.records import RecordSource
from tinsmith.convert.data.source import Origin
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.preprocessing import Preprocessing
from tinsmith.runtime.tensors import TensorSpec

INPUTS = (TensorSpec(name="x", dtype="float32", shape=(None, 2)),)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=rng.random((40, 2), np.float32), y=np.arange(40) % 2)
    np.savez(tmp_path / "seen.npz", x=10 + rng.random((7, 2), np.float32))
    np.savez(tmp_path / "more.npz", x=20 + rng.random((5, 2), np.float32))
    (tmp_path / "data.yaml").write_text("source: own.npz\nsplit: {train: 0.5, calibration: 0.25, validation: 0.25}\n")
    return tmp_path


def described(path, text):
    path.write_text(text)
    return open_dataset(path, INPUTS)


def values(dataset):
    return np.concatenate([batch.feeds["x"] for batch in dataset.batches(3)])


def test_they_are_for_ranges_alone(files):
    joined = Roles(described(files / "all.yaml", "source: data.yaml\ncaptured: [seen.npz, more.npz]\n"), seed=0)
    alone = Roles(open_dataset(files / "data.yaml", INPUTS), seed=0)

    assert np.array_equal(values(joined.calibration)[: len(alone.calibration)], values(alone.calibration))
    assert values(joined.calibration)[len(alone.calibration) :, 0].astype(int).tolist() == [10] * 7 + [20] * 5
    assert joined.calibration.labels is None
    for role in ("train", "validation", "report"):
        assert np.array_equal(values(getattr(joined, role)), values(getattr(alone, role)))
        assert getattr(joined, role).labels.tolist() == getattr(alone, role).labels.tolist()


def test_without_splits_all_samples_and_these_are_for_ranges(files):
    roles = Roles(described(files / "all.yaml", "source: own.npz\ncaptured: seen.npz\n"), seed=0)

    assert len(roles.calibration) == 47
    assert len(roles.report) == 40


def test_they_count_for_what_names_the_samples(files):
    one = described(files / "one.yaml", "source: own.npz\ncaptured: seen.npz\n")
    other = described(files / "other.yaml", "source: own.npz\ncaptured: more.npz\n")

    assert len({one.sha256, other.sha256, open_dataset(files / "own.npz", INPUTS).sha256}) == 3
    assert Roles(one, seed=0).calibration.sha256 != Roles(other, seed=0).calibration.sha256


@pytest.mark.parametrize(
    "text",
    [
        "source: data.yaml\n",
        "source: data.yaml\ncaptured: seen.npz\nlabels: [a, b]\n",
        "source: all.yaml\ncaptured: seen.npz\n",
        "source: nothing.yaml\ncaptured: seen.npz\n",
        "source: own.npz\ncaptured: own\n",
        "source: own.npz\ncaptured: gone.npz\n",
    ],
)
def test_what_can_not_be_joined_is_refused(files, text):
    with pytest.raises(DataError):
        described(files / "all.yaml", text)


def test_what_was_captured_is_held_against_the_model(files):
    np.savez(files / "seen.npz", x=np.full((3, 2), np.nan, np.float32))
    with pytest.raises(DataError, match=r"seen\.npz"):
        values(Roles(described(files / "all.yaml", "source: own.npz\ncaptured: seen.npz\n"), seed=0).calibration)
    np.savez(files / "seen.npz", x=np.zeros((3, 5), np.float32))
    with pytest.raises(DataError, match=r"seen\.npz"):
        described(files / "all.yaml", "source: own.npz\ncaptured: seen.npz\n")


def part(start, count):
    fit = Fit(where="memory", spec=INPUTS[0], preprocessing=Preprocessing())
    column = np.arange(start, start + count, dtype=np.float32)[:, None].repeat(2, axis=1)
    return Dataset(RecordSource({"x": (column, fit)}, Metadata(), Origin(name=f"{start}", where="memory")))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 7), st.data())
def test_joined_parts_read_like_one(sizes, batch, data):
    starts = np.cumsum([0, *sizes[:-1]])
    source = JoinedSource([part(int(start), size) for start, size in zip(starts, sizes, strict=True)], name="all")
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, sum(sizes) - 1), min_size=1))))

    assert values(Dataset(source, chosen))[:, 0].tolist() == chosen.tolist()
    cuts = [chosen[at : at + batch] for at in range(0, len(chosen), batch)]
    assert [feeds["x"][:, 0].tolist() for feeds in source.read(cuts)] == [cut.tolist() for cut in cuts]
    assert [found["x"][0] for found in source.examine(chosen)] == chosen.tolist()
    assert str(int(chosen[0] - starts[np.searchsorted(np.cumsum(sizes), chosen[0], side="right")])) in source.name_of(
        int(chosen[0])
    )
