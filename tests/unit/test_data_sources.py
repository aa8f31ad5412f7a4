import importlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tinsmith.convert.data import open_dataset
from tinsmith.runtime.errors import DataError, MissingDependencyError
from tinsmith.runtime.preprocessing import ChannelsFirst, Decode, Resize, Scale
from tinsmith.runtime.tensors import TensorSpec

TOKENS = TensorSpec(name="ids", dtype="int32", shape=(None, 4))
FLOATS = TensorSpec(name="input_1", dtype="float32", shape=(None, 2))
IMAGES = TensorSpec(name="image", dtype="float32", shape=(None, 6, 8, 3))
PAIR = TensorSpec(name="b", dtype="float32", shape=(None, 3))

TOKENISE = """
preprocess:
  - kind: tokenise
    vocabulary: [<pad>, <unknown>, good, bad, film]
    unknown: <unknown>
  - kind: pad
    length: 4
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def described(folder, source, text=TOKENISE):
    return write(folder / "data.yaml", f"source: {source}\n{text}")


def rows(dataset, name, size=2):
    return np.concatenate([batch.feeds[name] for batch in dataset.batches(size)]).tolist()


def refusal(reference, *inputs):
    with pytest.raises(DataError) as caught:
        list(open_dataset(reference, inputs).batches(4))
    return caught.value.message


@pytest.fixture
def reviews(tmp_path):
    write(tmp_path / "reviews" / "pos" / "0.txt", "a good film")
    write(tmp_path / "reviews" / "neg" / "0.txt", "bad")
    write(tmp_path / "reviews" / "neg" / "1.txt", "bad bad BAD film film")
    return tmp_path / "reviews"


class TestTexts:
    def test_a_folder_of_texts_is_tokenised(self, reviews, tmp_path):
        dataset = open_dataset(described(tmp_path, "reviews"), (TOKENS,))

        assert rows(dataset, "ids") == [[3, 0, 0, 0], [3, 3, 3, 4], [1, 2, 4, 0]]
        assert dataset.labels.tolist() == [0, 0, 1]
        assert dataset.class_names == ("neg", "pos")
        assert dataset.name == "data.yaml"
        assert [o.kind for o in dataset.preprocessing.operations] == ["tokenise", "pad"]

    def test_the_order_of_the_labels_can_be_given(self, reviews, tmp_path):
        dataset = open_dataset(described(tmp_path, "reviews", TOKENISE + "labels: [pos, neg]\n"), (TOKENS,))

        assert dataset.labels.tolist() == [1, 1, 0]

    def test_a_vocabulary_and_labels_can_lie_in_files_beside_it(self, reviews, tmp_path):
        write(tmp_path / "words.txt", "good\nbad\n")
        write(tmp_path / "labels.txt", "pos\nneg\n")
        text = (
            "labels: labels.txt\npreprocess:\n  - {kind: tokenise, vocabulary: words.txt}\n  - {kind: pad, length: 4}"
        )

        dataset = open_dataset(described(tmp_path, "reviews", text), (TOKENS,))

        assert rows(dataset, "ids")[0] == [1, 0, 0, 0]
        assert dataset.class_names == ("pos", "neg")

    def test_a_label_that_is_none_of_the_set_is_named(self, reviews, tmp_path):
        path = described(tmp_path, "reviews", TOKENISE + "labels: [pos, neutral]\n")

        assert "0.txt has the label 'neg', which is none of pos, neutral" in refusal(path, TOKENS)

    def test_text_without_an_operation_that_reads_it(self, reviews):
        assert "sample 0 (counted from 0): the sample is text, and no operation" in refusal(reviews, TOKENS)

    def test_text_in_another_encoding_is_named(self, reviews, tmp_path):
        (reviews / "neg" / "1.txt").write_bytes(b"caf\xe9")

        assert f"{reviews / 'neg' / '1.txt'} can't be read as UTF-8 text" in refusal(
            described(tmp_path, "reviews"), TOKENS
        )

    def test_texts_and_images_together(self, reviews):
        write(reviews / "pos" / "1.png", "x")

        assert "holds both texts and other files" in refusal(reviews, TOKENS)

    def test_without_a_model_texts_stay_as_they_are(self, reviews):
        assert rows(open_dataset(reviews, None), "x", size=1)[0] == "bad"


class TestTables:
    def test_texts_in_csv_with_quotes_and_line_breaks(self, tmp_path):
        write(
            tmp_path / "t.csv", '\ufefftext,label,slice\n"good\nfilm",pos,day\n"bad, ""bad""",neg,night\ngood,pos,day\n'
        )
        dataset = open_dataset(described(tmp_path, "t.csv"), (TOKENS,))

        assert rows(dataset, "ids") == [[2, 4, 0, 0], [1, 1, 0, 0], [2, 0, 0, 0]]
        assert dataset.labels.tolist() == [1, 0, 1]
        (column,) = dataset.slices
        assert (column.column, column.cells) == ("slice", ("day", "night", "day"))
        assert [c.cells for c in dataset.take(2).slices] == [("day", "night")]

    def test_jsonl_holds_the_same(self, tmp_path):
        lines = [{"text": "good film", "label": 3}, {"text": "bad", "label": 0}]
        write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
        dataset = open_dataset(described(tmp_path, "t.jsonl"), (TOKENS,))

        assert rows(dataset, "ids") == [[2, 4, 0, 0], [3, 0, 0, 0]]
        assert dataset.labels.tolist() == [3, 0]

    def test_numbers_as_json_lists(self, tmp_path):
        write(tmp_path / "a.csv", 'x,label\n"[1, 2]",0.5\n"[3, 4.5]",-2\n')
        write(tmp_path / "a.jsonl", '{"x": [1, 2], "label": [1, 1]}\n{"x": [3, 4.5], "label": [0, 1]}\n')
        csv, jsonl = (open_dataset(tmp_path / name, (FLOATS,)) for name in ("a.csv", "a.jsonl"))

        assert rows(csv, "input_1") == rows(jsonl, "input_1") == [[1, 2], [3, 4.5]]
        assert csv.targets.tolist() == [[0.5], [-2]]
        assert jsonl.targets.tolist() == [[1, 1], [0, 1]]
        assert csv.labels is jsonl.labels is None

    def test_images_by_their_paths(self, tmp_path):
        for name, colour in (("a.png", (1, 2, 3)), ("b.png", (4, 5, 6))):
            Image.new("RGB", (16, 12), colour).save(tmp_path / name)
        path = write(tmp_path / "t.csv", "image,label\nb.png,cat\na.png,dog\n")
        dataset = open_dataset(path, (IMAGES,))
        before = dataset.sha256
        Image.new("RGB", (16, 12)).save(tmp_path / "a.png")

        assert [image[0][0] for image in rows(dataset, "image")] == [[4, 5, 6], [0, 0, 0]]
        assert dataset.sha256 != before

    def test_any_column_can_name_the_split(self, tmp_path):
        write(tmp_path / "t.csv", "text,fold\ngood,training\nbad,dev\nfilm,test\n")
        splits = open_dataset(described(tmp_path, "t.csv", TOKENISE + "split: {column: fold}\n"), (TOKENS,)).splits(0)

        assert [rows(part, "ids")[0][0] for part in (splits.train, splits.validation, splits.test)] == [2, 3, 4]
        assert splits.calibration is None

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("t.csv", "", "holds no samples"),
            ("t.csv", "text,label\n", "holds no samples"),
            ("t.csv", "words,label\na,b\n", "has the columns words, label"),
            ("t.csv", "text,x\na,1\n", "must stand in one of text, image, x"),
            ("t.csv", "text,label\na,b\nc\n", "is damaged behind row 1: a row of 1 cells under 2 columns"),
            ("t.csv", "text,split\na,somewhere\n", "sample 0 (counted from 0) is in the split 'somewhere'"),
            ("t.jsonl", "[1]\n", "a line that is no object"),
            ("t.jsonl", '{"text": "a", "label": 1}\n{"text"', "is damaged behind row 1"),
            ("t.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}', "1 cells of 'label' for 2 samples"),
            ("t.jsonl", '{"x": [1, 2], "label": [1, 1]}\n{"x": [1, 2], "label": [1]}', "lists of different lengths"),
            ("t.jsonl", '{"x": [1, 2], "label": 1}\n{"label": 1}', "sample 1 (counted from 0) has no x"),
            ("t.jsonl", '{"x": [1, 2], "label": 1}\n{"x": [1, 2], "label": null}', "1 cells of 'label' for 2"),
            ("t.jsonl", "[" * 100_000, "is damaged behind row 0"),
            ("t.csv", "x,label\nhello,1\n", "x holds 'hello', which is no list of numbers"),
            ("t.csv", "x,label\n[1],1\n", "sample 0 has shape [1, 1]"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path, name, text, said):
        assert said in refusal(write(tmp_path / name, text), FLOATS)


class TestFunctions:
    @pytest.fixture
    def module(self, tmp_path):
        def make(body):
            write(tmp_path / "mine.py", f"import numpy as np\ndef load():\n    {body}\n")
            sys.modules.pop("mine", None)
            importlib.invalidate_caches()
            return "mine:load"

        yield make
        sys.modules.pop("mine", None)

    @pytest.mark.parametrize(
        "body",
        [
            "return np.array([[1, 2], [3, 4]]), np.array([1, 0])",
            "return {'input_1': np.array([[1, 2], [3, 4]]), 'y': [1, 0]}",
            "return [(np.array([1, 2]), 1), ([3, 4], 0)]",
            "yield np.array([1, 2]), 1; yield (3, 4), 0",
        ],
    )
    def test_gives_arrays_or_pairs(self, module, body):
        dataset = open_dataset(module(body), (FLOATS,))

        assert rows(dataset, "input_1") == rows(dataset, "input_1") == [[1, 2], [3, 4]]
        assert dataset.labels.tolist() == [1, 0]
        assert len(dataset.sha256) == 64

    def test_gives_several_inputs(self, module):
        dataset = open_dataset(module("return {'input_1': np.ones((2, 2)), 'b': np.zeros((2, 3))}"), (FLOATS, PAIR))

        assert {name: array.shape for name, array in next(dataset.batches(2)).feeds.items()} == {
            "input_1": (2, 2),
            "b": (2, 3),
        }

    def test_a_stream_can_be_taken_apart(self, module):
        dataset = open_dataset(module("return ((np.full(2, n), n % 2) for n in range(9))"), (FLOATS,))
        first, rest = dataset.stratified_split(4, 0)

        assert sorted(rows(first, "input_1") + rows(rest, "input_1")) == [[n, n] for n in range(9)]

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("1 / 0", "mine:load failed: ZeroDivisionError"),
            ("return 7", "mine:load gave int"),
            ("return []", "holds no samples"),
            ("return np.zeros((0, 2)), np.zeros(0)", "gives no samples"),
            ("return {'a': np.zeros((1, 2))}", "no array for the model's input 'input_1'"),
            ("return np.array([object()]), np.zeros(1)", "is no array of numbers"),
            ("return [(np.zeros(2), 1), (np.zeros(3), 1)]", "sample 1 has shape [1, 3]"),
            ("return [(np.zeros(2), 1), np.zeros(2)]", "holds 1 labels for 2 samples"),
        ],
    )
    def test_mistakes_are_named(self, module, body, said):
        assert said in refusal(module(body), FLOATS)

    def test_what_is_not_there(self, module):
        assert "can't be imported: ModuleNotFoundError" in refusal("nowhere.at.all:load", FLOATS)
        module("pass")
        assert "mine has no function 'save'" in refusal("mine:save", FLOATS)
        assert "there is no dataset mine" in refusal("mine", FLOATS)


class FakeTfds:
    """As much of tensorflow-datasets as is used: one dataset of three images in train and one in test."""

    IMAGES = {"train": [10, 20, 30], "test": [40]}

    class Image:
        pass

    class ClassLabel:
        names = ["cat", "dog"]

    def __init__(self, *, prepared=True, keys=("image", "label")):
        self.prepared = prepared
        self.features = {"image": self.Image(), "label": self.ClassLabel(), "id": None}
        self.supervised_keys = keys
        self.splits = {name: SimpleNamespace(num_examples=len(held)) for name, held in self.IMAGES.items()}
        self.info = self

    def builder(self, name):
        if name != "pets":
            raise LookupError(f"Dataset {name} not found.")
        return self

    def is_prepared(self):
        return self.prepared

    def as_dataset(self, *, split, shuffle_files, read_config):
        assert not shuffle_files
        if split not in self.IMAGES:
            raise ValueError(f"Unknown split '{split}'.")
        return [
            {"image": np.full((6, 8, 3), value, np.uint8), "label": np.int64(value == 40), "id": b"x"}
            for value in self.IMAGES[split]
        ]

    def as_numpy(self, made):
        return iter(made)

    ReadConfig = dict


class TestTfds:
    @pytest.fixture
    def pets(self, monkeypatch):
        def install(**settings):
            monkeypatch.setitem(sys.modules, "tensorflow_datasets", FakeTfds(**settings))
            return "tfds:pets"

        return install

    def test_all_splits_are_read_and_kept(self, pets):
        dataset = open_dataset(pets(), (IMAGES,))
        splits = dataset.splits(0)

        assert [image[0][0][0] for image in rows(dataset, "image")] == [10, 20, 30, 40]
        assert dataset.class_names == ("cat", "dog")
        assert (len(splits.train), splits.validation, splits.test.labels.tolist()) == (3, None, [1])
        assert [o.kind for o in dataset.preprocessing.operations] == ["decode", "resize"]

    def test_one_split_is_left_open(self, pets):
        dataset = open_dataset(f"{pets(keys=None)}:train", (IMAGES,))

        assert len(dataset) == 3
        assert dataset.splits(0).train is not None

    @pytest.mark.parametrize(
        ("settings", "reference", "said"),
        [
            ({}, "tfds:dogs", "tfds knows no dataset 'dogs': Dataset dogs not found."),
            ({}, "tfds:pets:some", "tfds:pets:some: Unknown split 'some'."),
            ({"prepared": False}, "tfds:pets", "does not lie on this machine, and tinsmith downloads nothing"),
        ],
    )
    def test_mistakes_are_named(self, pets, settings, reference, said):
        pets(**settings)

        assert said in refusal(reference, IMAGES)

    def test_a_dataset_without_pairs(self, pets, monkeypatch):
        reference = pets(keys=None)
        del sys.modules["tensorflow_datasets"].features["label"]

        assert "does not say which of them is the sample" in refusal(reference, IMAGES)

    def test_the_missing_package_is_named_with_the_command(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # as if it were not installed
        with pytest.raises(MissingDependencyError) as caught:
            open_dataset("tfds:mnist", (IMAGES,))

        assert caught.value.hint == 'install it with: pip install "tinsmith[tfds]"'

    @pytest.mark.tensorflow
    def test_nothing_is_downloaded(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))

        assert "does not lie on this machine" in refusal("tfds:mnist", IMAGES)

    @pytest.mark.tensorflow
    def test_a_dataset_that_tfds_itself_has_written_is_read(self, tmp_path):
        x = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3)).astype(np.uint8)
        y = np.arange(12) % 3
        written_by_tfds(tmp_path, {"train": (x[:8], y[:8]), "test": (x[8:], y[8:])})
        spec = TensorSpec(name="image", dtype="float32", shape=(None, 8, 8, 3))

        whole, test = open_dataset("tfds:squares", (spec,)), open_dataset("tfds:squares:test", (spec,))
        (batch,) = whole.batches(12)
        known = {image.tobytes(): label for image, label in zip(x.astype(np.float32), y, strict=True)}

        assert whole.class_names == ("a", "b", "c")
        assert len(test) == 4
        assert [known.pop(image.tobytes()) for image in batch.feeds["image"]] == batch.labels.tolist()
        assert not known
        assert len(whole.splits(0).train) == 8

        sliced = open_dataset(described(tmp_path, "tfds:squares", "slices: [camera, label]"), (spec,))
        cells = {column.column: column.cells for column in sliced.slices}
        assert cells["camera"] == tuple(f"no. {label}" for label in sliced.labels)
        assert cells["label"] == tuple("abc"[label] for label in sliced.labels)


def written_by_tfds(folder, splits):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    tfds.core.add_data_dir(folder)  # TFDS_DATA_DIR is read when tfds is imported
    image, label = tfds.features.Image(shape=(8, 8, 3)), tfds.features.ClassLabel(names=["a", "b", "c"])
    tfds.dataset_builders.TfDataBuilder(
        name="squares",
        version="1.0.0",
        data_dir=folder,
        split_datasets={
            name: tf.data.Dataset.from_tensor_slices({"image": x, "label": y, "camera": [f"no. {n}" for n in y]})
            for name, (x, y) in splits.items()
        },
        features=tfds.features.FeaturesDict({"image": image, "label": label, "camera": tfds.features.Text()}),
    ).download_and_prepare()


class TestImages:
    @pytest.fixture
    def pictures(self, tmp_path):
        for number, name in enumerate(["dog", "cat"]):
            (tmp_path / "pictures" / name).mkdir(parents=True)
            Image.new("RGB", (16, 12), (10 * number, 100, 200)).save(tmp_path / "pictures" / name / "0.png")
        return tmp_path / "pictures"

    def test_what_the_model_leaves_no_choice_about_is_added(self, pictures, tmp_path):
        first = TensorSpec(name="image", dtype="float32", shape=(1, 3, 6, 8))
        path = described(tmp_path, "pictures", "preprocess: [{kind: scale, multiply: 0.5}]")
        dataset = open_dataset(path, (first,))

        assert dataset.preprocessing.operations == (
            Decode(),
            Resize(height=6, width=8),
            Scale(multiply=0.5),
            ChannelsFirst(),
        )
        assert next(dataset.batches(1)).feeds["image"][0, :, 0, 0].tolist() == [5, 50, 100]

    def test_what_is_given_stays(self, pictures, tmp_path):
        text = (
            "preprocess:\n  - {kind: decode, channels: grey}\n"
            "  - {kind: resize, height: 9, width: 9, fit: cover}\n  - {kind: center-crop, height: 6, width: 8}\n"
        )
        grey = TensorSpec(name="image", dtype="uint8", shape=(None, 6, 8, 1))
        dataset = open_dataset(described(tmp_path, "pictures", text), (grey,))

        assert [o.kind for o in dataset.preprocessing.operations] == ["decode", "resize", "center-crop"]
        assert next(dataset.batches(2)).feeds["image"].dtype == np.uint8

    def test_arrays_are_preprocessed_too(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.full((3, 4, 4, 3), 255, np.uint8), y=[0, 1, 0])
        text = (
            "preprocess:\n  - {kind: resize, height: 6, width: 8}\n  - {kind: scale, multiply: 0.00392156862745098}\n"
        )

        fed = next(open_dataset(described(tmp_path, "a.npz", text), (IMAGES,)).batches(3)).feeds["image"]

        assert fed.shape == (3, 6, 8, 3)
        assert np.allclose(fed, 1)

    def test_one_folder_a_split(self, pictures, tmp_path):
        (tmp_path / "all").mkdir()
        for name in ("train", "val"):
            (tmp_path / "all" / name).symlink_to(pictures)
        splits = open_dataset(described(tmp_path, "all", "split: {folders: true}"), (IMAGES,)).splits(0)

        assert len(splits.train) == len(splits.validation) == 2
        assert splits.train.labels.tolist() == [0, 1]
        assert splits.calibration is splits.test is None

    def test_preprocessing_changes_the_hash(self, pictures, tmp_path):
        plain = open_dataset(pictures, (IMAGES,)).sha256
        same = open_dataset(described(tmp_path, "pictures", ""), (IMAGES,)).sha256
        scaled = open_dataset(described(tmp_path, "pictures", "preprocess: [{kind: scale}]"), (IMAGES,)).sha256

        assert plain == same != scaled


class TestDescriptions:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("sorce: a.npz\n", r"data.yaml:1: sorce: Extra inputs are not permitted"),
            ("source: a.npz\n\nlables: [a]\n", r"data.yaml:3: lables: Extra inputs"),
            ("- a\n", "data.yaml:1: a data.yaml is a mapping with source"),
            ("source: [\n", "data.yaml:2: not YAML"),
            (
                "source: a.npz\npreprocess:\n  - kind: pad\n    length: 4\n  - kind: resise\n",
                "data.yaml:5: preprocess.1: 'resise' is no operation",
            ),
            (
                "source: a.npz\npreprocess:\n  - {kind: pad, len: 4}\n",
                "data.yaml:3: preprocess.0: pad: unknown setting",
            ),
            ("source: a.npz\nsplit: {train: 0.5}\n", "the shares add up to 0.5"),
            ("source: a.npz\nsplit: {train: 1, column: a}\n", "data.yaml:2: split: name either shares"),
            ("source: a.npz\nsplit: {train: 2}\n", "data.yaml:2: split.train"),
            ("source: a.npz\nlabels: none.txt\n", "cannot read the file of labels"),
            ("source: other.yaml\n", "source names another data.yaml"),
            ("source: a.npz\nsplit: {column: fold}\n", "split names a column, but a.npz is no table"),
            ("source: a.npz\nsplit: {folders: true}\n", "split names folders, but a.npz is no folder"),
            ("source: t.csv\nsplit: {train: 1}\n", "says itself which sample is in which split"),
            ("source: none.npz\n", "there is no dataset none.npz"),
        ],
    )
    def test_mistakes_are_named_with_file_and_line(self, tmp_path, text, said):
        write(tmp_path / "t.csv", 'x,split\n"[1, 2]",train\n')

        assert said in refusal(write(tmp_path / "data.yaml", text), FLOATS)
