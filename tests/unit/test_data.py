import hashlib
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.convert.data import open_dataset
from tinsmith.runtime.errors import DataError, UnsupportedOperatorError
from tinsmith.runtime.tensors import Quantization, TensorSpec

FLOATS = TensorSpec(name="input_1", dtype="float32", shape=(None, 4, 3))
TOKENS = TensorSpec(name="ids", dtype="int32", shape=(None, 5))
INT8 = TensorSpec(
    name="q", dtype="int8", shape=(1, 4, 3), quantization=Quantization(scale=(0.5,), zero_point=(3,), axis=None)
)


def save(folder, **arrays):
    path = folder / "data.npz"
    np.savez_compressed(path, **arrays)
    return path


def floats(n=7, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4, 3)).astype(np.float32)


def gather(dataset, name, size=3):
    return np.concatenate([batch.feeds[name] for batch in dataset.batches(size)])


def refusal(path, *inputs):
    with pytest.raises(DataError) as caught:
        list(open_dataset(path, inputs).batches(4))
    return caught.value.message


class TestNpz:
    def test_streams_what_was_saved_in_batches_of_the_asked_size(self, tmp_path):
        x, y = floats(), np.arange(7)
        dataset = open_dataset(save(tmp_path, x=x, y=y), (FLOATS,))

        batches = list(dataset.batches(3))

        assert [len(batch.feeds["input_1"]) for batch in batches] == [3, 3, 1]
        assert np.array_equal(np.concatenate([batch.feeds["input_1"] for batch in batches]), x)
        assert np.array_equal(np.concatenate([batch.labels for batch in batches]), y)
        assert len(dataset) == 7
        assert dataset.name == "data.npz"

    def test_can_be_read_again(self, tmp_path):
        dataset = open_dataset(save(tmp_path, x=floats()), (FLOATS,))

        assert np.array_equal(gather(dataset, "input_1"), gather(dataset, "input_1", size=2))

    def test_has_no_labels_where_the_file_has_none(self, tmp_path):
        dataset = open_dataset(save(tmp_path, x=floats()), (FLOATS,))

        assert dataset.labels is None
        assert next(dataset.batches(2)).labels is None

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "float64", "float16"])
    def test_turns_numbers_into_float32_for_a_float_input(self, tmp_path, dtype):
        x = np.arange(24).reshape(2, 4, 3).astype(dtype)
        fed = gather(open_dataset(save(tmp_path, x=x), (FLOATS,)), "input_1")

        assert fed.dtype == np.float32
        assert np.array_equal(fed, x.astype(np.float32))

    def test_feeds_real_numbers_to_a_quantized_input(self, tmp_path):
        fed = gather(open_dataset(save(tmp_path, x=floats()), (INT8,)), "q")

        assert fed.dtype == np.float32

    def test_keeps_token_ids_integers_of_the_models_dtype(self, tmp_path):
        x = np.arange(10).reshape(2, 5)
        fed = gather(open_dataset(save(tmp_path, x=x), (TOKENS,)), "ids")

        assert fed.dtype == np.int32
        assert np.array_equal(fed, x)

    def test_reads_integers_on_the_grid_that_scale_and_zero_point_give(self, tmp_path):
        q = np.arange(-12, 12, dtype=np.int8).reshape(2, 4, 3)
        path = save(tmp_path, x=q, scale=np.float32(0.25), zero_point=np.int32(-3))

        assert np.array_equal(gather(open_dataset(path, (FLOATS,)), "input_1"), (q.astype(np.float32) + 3) * 0.25)

    def test_matches_several_inputs_by_name_with_or_without_tensorflows_ornaments(self, tmp_path):
        decorated = TensorSpec(name="serving_default_b:0", dtype="float32", shape=(None, 2))
        path = save(tmp_path, input_1=floats(3), b=np.ones((3, 2)), y=[0, 1, 0])

        feeds = next(open_dataset(path, (FLOATS, decorated)).batches(8)).feeds

        assert {name: array.shape for name, array in feeds.items()} == {
            "input_1": (3, 4, 3),
            "serving_default_b:0": (3, 2),
        }

    def test_reads_arrays_in_column_order(self, tmp_path):
        x = floats()
        path = save(tmp_path, x=np.asfortranarray(x), y=np.arange(7))

        assert np.array_equal(gather(open_dataset(path, (FLOATS,)), "input_1"), x)

    def test_takes_labels_in_a_column_and_in_whole_floats(self, tmp_path):
        path = save(tmp_path, x=floats(2), y=np.array([[1.0], [4.0]]))

        labels = open_dataset(path, (FLOATS,)).labels

        assert labels.dtype == np.int64
        assert labels.tolist() == [1, 4]

    def test_fractions_are_the_numbers_of_a_regression(self, tmp_path):
        batch = next(open_dataset(save(tmp_path, x=floats(2), y=[0.5, -1]), (FLOATS,)).batches(4))

        assert batch.labels is None
        assert batch.targets.dtype == np.float32
        assert batch.targets.tolist() == [[0.5], [-1]]

    def test_several_columns_are_targets_and_classes_only_where_one_stands_out(self, tmp_path):
        one_hot = open_dataset(save(tmp_path, x=floats(2), y=[[0, 1], [1, 0]]), (FLOATS,))
        assert one_hot.labels.tolist() == [1, 0]
        assert one_hot.targets.tolist() == [[0, 1], [1, 0]]

        many_hot = open_dataset(save(tmp_path, x=floats(2), y=[[1, 1], [1, 0]]), (FLOATS,))
        assert many_hot.labels is None
        assert next(many_hot.batches(2)).targets.tolist() == [[1, 1], [1, 0]]

    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(picked=st.sets(st.integers(0, 19), min_size=1), size=st.integers(1, 25), seed=st.integers(0, 3))
    def test_any_choice_of_samples_streams_those_samples(self, tmp_path, picked, size, seed):
        x = floats(20, seed)
        labels = np.array([int(at in picked) for at in range(20)] + [0, 1])
        path = save(tmp_path, x=np.concatenate([x, x[:2]]), y=labels)
        n = max(1, len(picked))
        first, rest = open_dataset(path, (FLOATS,)).stratified_split(n, seed)

        both = np.concatenate([gather(first, "input_1", size), gather(rest, "input_1", size)])

        assert len(first) == n
        assert sorted(map(bytes, both)) == sorted(map(bytes, np.concatenate([x, x[:2]])))


class TestNpzRefusals:
    def test_a_missing_file_is_never_made_up(self, tmp_path):
        with pytest.raises(DataError, match="there is no dataset") as caught:
            open_dataset(tmp_path / "none.npz", (FLOATS,))

        assert "never makes samples up" in caught.value.hint

    def test_a_file_that_is_no_npz(self, tmp_path):
        (tmp_path / "data.npz").write_text("x, y")

        assert "is no .npz file" in refusal(tmp_path / "data.npz", FLOATS)

    def test_a_zip_of_other_things(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
            archive.writestr("x.npy", b"hello")

        assert "is damaged" in refusal(tmp_path / "data.npz", FLOATS)

    def test_pickled_objects(self, tmp_path):
        path = save(tmp_path, x=np.array([{"a": 1}, None], dtype=object))

        assert "array 'x' holds pickled objects" in refusal(path, FLOATS)

    def test_pickled_objects_beside_good_samples(self, tmp_path):
        path = save(tmp_path, x=floats(2), y=np.array([0, None], dtype=object))

        assert "array 'y' holds pickled objects" in refusal(path, FLOATS)

    def test_a_missing_x(self, tmp_path):
        assert "holds 'images', but no array for the model's input 'input_1'" in refusal(
            save(tmp_path, images=floats()), FLOATS
        )

    def test_an_input_without_an_array(self, tmp_path):
        assert "no array for the model's input 'ids'" in refusal(save(tmp_path, input_1=floats()), FLOATS, TOKENS)

    @pytest.mark.parametrize("shape", [(7, 4), (7, 3, 4), (7, 4, 3, 1), (), (4, 3)])
    def test_a_shape_that_the_model_does_not_take(self, tmp_path, shape):
        message = refusal(save(tmp_path, x=np.zeros(shape)), FLOATS)

        assert f"has shape {list(shape)}" in message
        assert "takes [n, 4, 3]" in message

    @pytest.mark.parametrize(
        ("array", "kind"),
        [
            (np.zeros((2, 4, 3), dtype=complex), "complex numbers"),
            (np.zeros((2, 4, 3), dtype=bool), "truth values"),
            (np.full((2, 4, 3), "a"), "text"),
            (np.zeros((2, 4, 3), dtype="datetime64[s]"), "no numbers"),
        ],
    )
    def test_a_dtype_that_is_no_number(self, tmp_path, array, kind):
        assert f"holds {kind}" in refusal(save(tmp_path, x=array), FLOATS)

    def test_real_numbers_where_integers_are_taken(self, tmp_path):
        assert "holds real numbers (float64), but the model's input 'ids' takes integers" in refusal(
            save(tmp_path, x=np.zeros((2, 5))), TOKENS
        )

    def test_integers_beyond_the_models_dtype(self, tmp_path):
        assert "holds values from 0 to 4294967296" in refusal(
            save(tmp_path, x=np.array([[0, 0, 0, 0, 1 << 32]])), TOKENS
        )

    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(at=st.integers(0, 6), value=st.sampled_from([np.nan, np.inf, -np.inf]), size=st.integers(1, 8))
    def test_nan_and_infinity_name_their_sample(self, tmp_path, at, value, size):
        x = floats()
        x[at, 1, 1] = value
        dataset = open_dataset(save(tmp_path, x=x), (FLOATS,))

        with pytest.raises(DataError, match=rf"sample {at} \(counted from 0\) holds (NaN|infinity)"):
            list(dataset.batches(size))

    def test_numbers_too_large_for_float32(self, tmp_path):
        assert "sample 0 (counted from 0) holds infinity" in refusal(
            save(tmp_path, x=np.full((1, 4, 3), 1e300)), FLOATS
        )

    def test_no_samples(self, tmp_path):
        assert "holds no samples" in refusal(save(tmp_path, x=np.zeros((0, 4, 3))), FLOATS)

    def test_x_and_y_of_different_lengths(self, tmp_path):
        assert "holds 3 labels for 7 samples" in refusal(save(tmp_path, x=floats(), y=[0, 1, 2]), FLOATS)

    def test_inputs_of_different_lengths(self, tmp_path):
        path = save(tmp_path, input_1=floats(3), ids=np.zeros((2, 5), np.int32))

        assert "different numbers of samples" in refusal(path, FLOATS, TOKENS)

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            ([0, -1], "holds -1, which is no class number"),
            ([np.nan, 1], "holds nan, which is no class number"),
            (["cat", "dog"], "holds text, not class numbers"),
            (np.zeros((2, 0)), "holds no number for a sample"),
            ([1e300, 1.0], "too large for a class number"),
            (np.array([2**63, 1], np.uint64), "too large for a class number"),
        ],
    )
    def test_labels_that_are_no_class_numbers(self, tmp_path, y, message):
        assert message in refusal(save(tmp_path, x=floats(2), y=y), FLOATS)

    @pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
    def test_a_scale_that_is_none(self, tmp_path, scale):
        path = save(tmp_path, x=np.zeros((1, 4, 3), np.int8), scale=scale, zero_point=0)

        assert "are no quantization" in refusal(path, FLOATS)

    def test_a_scale_for_numbers_that_are_real_already(self, tmp_path):
        assert "holds a scale, but array 'x' is float32" in refusal(save(tmp_path, x=floats(), scale=0.5), FLOATS)

    def test_a_truncated_archive(self, tmp_path):
        path = save(tmp_path, x=floats(500))
        path.write_bytes(path.read_bytes()[:-2000])

        assert "is no .npz file" in refusal(path, FLOATS)

    def test_a_flipped_bit(self, tmp_path):
        path = save(tmp_path, x=floats(500))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)

        assert "is damaged" in refusal(path, FLOATS)

    def test_a_model_that_takes_text(self, tmp_path):
        with pytest.raises(UnsupportedOperatorError, match="takes strings"):
            open_dataset(save(tmp_path, x=floats()), (TensorSpec(name="text", dtype="str", shape=(None,)),))


class TestParts:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        counts=st.lists(st.integers(1, 9), min_size=2, max_size=5), share=st.floats(0.05, 0.95), seed=st.integers(0, 9)
    )
    def test_a_stratified_split_gives_each_class_its_share(self, tmp_path, counts, share, seed):
        labels = np.repeat(np.arange(len(counts)), counts)
        n = min(max(1, round(len(labels) * share)), len(labels) - 1)
        dataset = open_dataset(save(tmp_path, x=floats(len(labels)), y=labels), (FLOATS,))

        picked, rest = dataset.stratified_split(n, seed)

        shares = np.bincount(picked.labels, minlength=len(counts))
        assert (len(picked), len(rest)) == (n, len(labels) - n)
        assert (np.abs(shares - np.array(counts) * n / len(labels)) < 1).all()
        assert np.array_equal(shares + np.bincount(rest.labels, minlength=len(counts)), counts)

    def test_a_split_depends_on_its_seed_alone(self, tmp_path):
        dataset = open_dataset(save(tmp_path, x=floats(60), y=np.arange(60) % 3), (FLOATS,))
        again = open_dataset(tmp_path / "data.npz", (FLOATS,))

        first, other = (gather(dataset.stratified_split(20, seed)[0], "input_1") for seed in (1, 2))

        assert np.array_equal(first, gather(again.stratified_split(20, 1)[0], "input_1"))
        assert not np.array_equal(first, other)

    def test_a_split_needs_labels_and_a_rest(self, tmp_path):
        with pytest.raises(DataError, match="has no labels"):
            open_dataset(save(tmp_path, x=floats()), (FLOATS,)).stratified_split(2, 0)
        with pytest.raises(DataError, match="7 samples can't be split off"):
            open_dataset(save(tmp_path, x=floats(), y=[0] * 7), (FLOATS,)).stratified_split(7, 0)

    def test_take_gives_the_first_samples(self, tmp_path):
        x = floats()
        dataset = open_dataset(save(tmp_path, x=x, y=np.arange(7)), (FLOATS,))

        part = dataset.take(3)

        assert np.array_equal(gather(part, "input_1"), x[:3])
        assert part.labels.tolist() == [0, 1, 2]
        assert part.name == "the first 3 of data.npz"
        assert dataset.take(99) is dataset

    def test_the_hash_of_all_is_that_of_the_file_and_parts_have_their_own(self, tmp_path):
        path = save(tmp_path, x=floats())
        dataset = open_dataset(path, (FLOATS,))

        hashes = {dataset.sha256, dataset.take(2).sha256, dataset.take(3).sha256}

        assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert len(hashes) == 3
