import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.convert.data import Shares, open_dataset
from tinsmith.convert.data.dataset import Dataset
from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.metadata import SPLITS, Metadata
from tinsmith.convert.data.mixing import mixed_samples
from tinsmith.convert.data.records import RecordSource
from tinsmith.convert.data.source import Origin
from tinsmith.runtime.preprocessing import Preprocessing
from tinsmith.runtime.tensors import TensorSpec

FLOATS = TensorSpec(name="x", dtype="float32", shape=(None, 1))
SEEDS = st.integers(0, 5)


def memory(values, labels=None, splits=None):
    """A dataset of one number a sample."""
    fit = Fit(where="memory", spec=FLOATS, preprocessing=Preprocessing())
    facts = Metadata(labels=None if labels is None else np.asarray(labels, np.int64), splits=splits)
    column = np.asarray(values, np.float32)[:, None]
    return Dataset(RecordSource({"x": (column, fit)}, facts, Origin(name="memory", where="memory")))


def parts_of(splits):
    return {name: part for name in SPLITS if (part := getattr(splits, name)) is not None}


def numbers(dataset, size=7):
    return [] if dataset is None else np.concatenate([b.feeds["x"][:, 0] for b in dataset.batches(size)]).tolist()


shares = (
    st.lists(st.integers(0, 10), min_size=4, max_size=4)
    .filter(any)
    .map(lambda parts: Shares(**dict(zip(SPLITS, (p / sum(parts) for p in parts), strict=True))))
)


class TestSplits:
    @settings(max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3)), min_size=1, max_size=60), shares, SEEDS)
    def test_they_are_disjoint_exhaustive_and_never_part_duplicates(self, samples, wanted, seed):
        values, labels = zip(*samples, strict=True)
        parts = parts_of(memory(values, labels).splits(seed, wanted))

        positions = [int(at) for part in parts.values() for at in part.positions]
        found = [set(numbers(part)) for part in parts.values()]

        assert sorted(positions) == list(range(len(samples)))
        assert sum(map(len, found)) == len(set(values))
        assert all(getattr(wanted, name) > 0 for name in parts)

    @settings(max_examples=40)
    @given(st.lists(st.integers(1, 40), min_size=1, max_size=6), shares, SEEDS)
    def test_each_class_and_the_whole_get_their_shares(self, counts, wanted, seed):
        labels = np.repeat(np.arange(len(counts)), counts)
        parts = parts_of(memory(range(len(labels)), labels).splits(seed, wanted))

        for name, share in zip(SPLITS, wanted.in_order, strict=True):
            held = np.bincount(parts[name].labels, minlength=len(counts)) if name in parts else np.zeros(len(counts))
            assert abs(held.sum() - share * len(labels)) < 2
            assert (np.abs(held - share * np.asarray(counts)) < 3).all()

    def test_they_depend_on_the_seed_alone(self):
        dataset = memory(range(100), np.arange(100) % 4)

        first, again, other = (numbers(dataset.splits(seed).train) for seed in (1, 1, 2))

        assert first == again != other
        assert len(first) == 80

    def test_the_usual_shares(self):
        splits = memory(range(200)).splits(0)

        assert [len(part) for part in parts_of(splits).values()] == [160, 10, 30]
        assert splits.test is None

    def test_those_of_the_source_win(self):
        splits = memory(range(4), splits=("test", "train", "test", "train")).splits(3, Shares())

        assert (numbers(splits.train), numbers(splits.test)) == ([1, 3], [0, 2])
        assert splits.calibration is splits.validation is None

    def test_a_part_is_split_too(self):
        splits = memory(range(100), np.arange(100) % 2).take(20).splits(0)

        assert sorted(numbers(splits.train) + numbers(splits.calibration) + numbers(splits.validation)) == list(
            range(20)
        )

    @pytest.mark.parametrize("values", [(0.5, 0.2, 0.2, 0), (2, -1, 0, 0)])
    def test_shares_that_are_none(self, values):
        with pytest.raises(ValueError, match="add up to 1"):
            Shares(**dict(zip(SPLITS, values, strict=True)))


def order(dataset, size, seed=0, epoch=0):
    return [n for batch in dataset.mixed_batches(size, seed=seed, epoch=epoch) for n in batch.feeds["x"][:, 0].tolist()]


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npz"
    np.savez_compressed(path, x=np.arange(1000, dtype=np.float32)[:, None], y=np.arange(1000))
    return open_dataset(path, (FLOATS,))


class TestMixing:
    @settings(max_examples=30)
    @given(st.integers(1, 50), st.integers(1, 60), SEEDS, SEEDS)
    def test_records_come_in_a_permutation_that_seed_and_epoch_decide(self, n, size, seed, epoch):
        dataset = memory(range(n))

        found = order(dataset, size, seed, epoch)

        assert sorted(found) == list(range(n))
        assert found == order(dataset, 3, seed, epoch)

    @settings(max_examples=10)
    @given(st.integers(1, 1200), SEEDS, SEEDS)
    def test_a_stream_that_fits_comes_in_a_permutation(self, streamed, size, seed, epoch):
        found = order(streamed, size, seed, epoch)

        assert sorted(found) == list(range(1000))
        assert found == order(streamed, 64, seed, epoch)
        assert found != order(streamed, 64, seed, epoch + 1)

    @settings(max_examples=10)
    @given(st.integers(1, 700), SEEDS)
    def test_a_stream_that_does_not_fit_passes_through_a_buffer(self, streamed, size, seed):
        def read(size):
            rng = np.random.default_rng(seed)
            batches = list(mixed_samples(streamed.source, streamed.positions, size, rng, buffer_bytes=1))
            assert [len(rows) for _, rows in batches[:-1]] == [size] * (len(batches) - 1)
            for feeds, rows in batches:
                assert feeds["x"][:, 0].tolist() == rows.tolist()
            return np.concatenate([rows for _, rows in batches])

        found = read(size)

        assert sorted(found) == list(range(1000))
        assert np.array_equal(found, read(100))
        assert np.corrcoef(found, np.arange(1000))[0, 1] < 0.99

    def test_labels_stay_with_their_samples(self, streamed):
        for batch in streamed.take(300).mixed_batches(32, seed=1, epoch=2):
            assert batch.labels.tolist() == batch.feeds["x"][:, 0].tolist()

    def test_a_batch_holds_a_sample(self):
        with pytest.raises(ValueError, match="at least one sample"):
            next(memory(range(3)).mixed_batches(0, seed=0, epoch=0))
