import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tinsmith.convert.data import open_dataset
from tinsmith.convert.data.cleaning import clean
from tinsmith.convert.data.overview import check_dataset, class_count
from tinsmith.convert.data.ranges import ValueRange, expected_range
from tinsmith.convert.model import Model
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.tensors import Quantization, TensorSpec

FLOATS = (TensorSpec(name="x", dtype="float32", shape=(None, 2)),)
IMAGES = (TensorSpec(name="image", dtype="float32", shape=(None, 4, 4, 3)),)


def save(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def cleaned(path, inputs=FLOATS, **settings):
    return clean(open_dataset(path, inputs), inputs, **settings)


def reasons(report):
    return {dropped.reason: dropped.samples for dropped in report.dropped}


def pairs(n, seed=0):
    return np.random.default_rng(seed).random((n, 2)).astype(np.float32)


class TestDropping:
    def test_a_clean_dataset_stays_whole(self, tmp_path):
        found = cleaned(save(tmp_path, x=pairs(40), y=np.arange(40) % 2))

        assert (found.report.samples, found.report.kept, found.report.dropped) == (40, 40, ())
        assert found.dataset.name == "data.npz"
        assert found.dataset.sha256 == open_dataset(tmp_path / "data.npz", FLOATS).sha256

    def test_each_reason_is_counted_with_examples(self, tmp_path):
        x = pairs(30)
        x[3, 0], x[4, 1], x[5, 0] = np.nan, np.inf, -np.inf
        x[20:28] = x[10]
        y = np.arange(30) % 3
        y[7] = 12
        found = cleaned(save(tmp_path, x=x, y=y), classes=3)

        assert reasons(found.report) == {"NaN or infinite": 3, "label outside the set": 1, "exact duplicate": 8}
        assert found.report.kept == len(found.dataset) == 18
        by_reason = {dropped.reason: dropped.examples for dropped in found.report.dropped}
        assert len(by_reason["exact duplicate"]) == 5
        assert by_reason["exact duplicate"][0] == "sample 20 (counted from 0) is like sample 10 (counted from 0)"
        assert by_reason["label outside the set"] == ("sample 7 (counted from 0): 12, of 3 classes",)
        assert "sample 3" in by_reason["NaN or infinite"][0]
        assert np.isfinite(next(found.dataset.batches(99)).feeds["x"]).all()
        assert found.dataset.labels.max() == 2
        assert any("another label" in warning for warning in found.report.warnings)

    def test_unreadable_images_are_named(self, tmp_path):
        for name, colour in (("cat", (1, 2, 3)), ("dog", (4, 5, 6))):
            (tmp_path / "pets" / name).mkdir(parents=True)
            Image.new("RGB", (5, 5), colour).save(tmp_path / "pets" / name / "a.png")
        (tmp_path / "pets" / "cat" / "b.png").write_bytes(b"no image")

        found = cleaned(tmp_path / "pets", IMAGES)

        assert reasons(found.report) == {"unreadable": 1}
        assert str(tmp_path / "pets" / "cat" / "b.png") in found.report.dropped[0].examples[0]
        assert found.dataset.labels.tolist() == [0, 1]

    def test_labels_that_are_not_in_the_description(self, tmp_path):
        (tmp_path / "t.csv").write_text('x,label\n"[1, 2]",a\n"[2, 3]",b\n"[3, 4]",c\n')
        (tmp_path / "data.yaml").write_text("source: t.csv\nlabels: [a, c]\n")
        found = cleaned(tmp_path / "data.yaml")

        assert reasons(found.report) == {"label outside the set": 1}
        assert found.report.dropped[0].examples == ("sample 1 (counted from 0): 'b'",)
        assert found.dataset.labels.tolist() == [0, 1]

    def test_a_sample_in_two_splits_goes_from_the_later_one(self, tmp_path):
        rows = ["[1, 2]", "[1, 2]", "[5, 6]", "[5, 6]", "[7, 8]"]
        splits = ["test", "train", "validation", "validation", "test"]
        lines = [f'"{x}",0,{split}' for x, split in zip(rows, splits, strict=True)]
        (tmp_path / "t.csv").write_text("x,label,split\n" + "\n".join(lines))
        found = cleaned(tmp_path / "t.csv")

        assert reasons(found.report) == {"exact duplicate": 1, "in two splits": 1}
        assert found.dataset.positions.tolist() == [1, 2, 4]
        across = next(d for d in found.report.dropped if d.reason == "in two splits")
        assert across.examples[0].endswith("test, and train already")

    def test_what_does_not_fit_the_model(self, tmp_path):
        (tmp_path / "t.csv").write_text('x,label\n"[1, 2]",0\n"[1, 2, 3]",1\nhello,1\n')
        found = cleaned(tmp_path / "t.csv")

        assert reasons(found.report) == {"does not fit": 1, "unreadable": 1}

    def test_nothing_left_is_an_error(self, tmp_path):
        with pytest.raises(DataError, match="holds nothing usable: 2 NaN or infinite, such as"):
            cleaned(save(tmp_path, x=np.full((2, 2), np.nan)))

    @settings(max_examples=30)
    @given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.sets(st.integers(0, 39)))
    def test_what_stays_is_finite_and_different(self, tmp_path_factory, values, odd):
        x = np.repeat(np.asarray(values, np.float32)[:, None], 2, axis=1)
        x[[at for at in odd if at < len(x)], 1] = np.nan
        usable = {value for value, row in zip(values, x, strict=True) if np.isfinite(row).all()}
        path = save(tmp_path_factory.mktemp("data"), x=x)
        if not usable:
            return

        found = cleaned(path)

        kept = next(found.dataset.batches(len(found.dataset))).feeds["x"][:, 0].tolist()
        assert sorted(kept) == sorted(usable)
        assert found.report.kept + sum(reasons(found.report).values()) == len(values)
        assert cleaned(path).dataset.sha256 == found.dataset.sha256


class TestWarnings:
    def test_a_single_class(self, tmp_path):
        found = cleaned(save(tmp_path, x=pairs(9), y=np.full(9, 2)))

        assert any("all samples are of one class (2)" in warning for warning in found.report.warnings)

    def test_a_calibration_split_that_lacks_classes(self, tmp_path):
        found = cleaned(save(tmp_path, x=pairs(60), y=np.arange(60) % 6))

        assert any("lacks 3 classes" in warning for warning in found.report.warnings)

    @pytest.mark.parametrize(
        ("top", "quantization", "warned"),
        [
            (1, Quantization(scale=(1.0,), zero_point=(-128,)), True),
            (255, Quantization(scale=(1.0,), zero_point=(-128,)), False),
            (255, Quantization(scale=(1 / 255,), zero_point=(-128,)), True),
            (1, Quantization(scale=(1 / 255,), zero_point=(-128,)), False),
            (255, Quantization(scale=(1 / 127.5,), zero_point=(0,)), True),
            (255, None, False),
        ],
    )
    def test_values_of_another_range(self, tmp_path, top, quantization, warned):
        inputs = (TensorSpec(name="x", dtype="int8" if quantization else "float32", shape=(None, 2),
                             quantization=quantization),)  # fmt: skip
        found = cleaned(save(tmp_path, x=pairs(50) * top), inputs)

        assert any("name a scale operation" in warning for warning in found.report.warnings) == warned

    @pytest.mark.parametrize(
        ("layers", "expected"),
        [
            ([{"class_name": "InputLayer", "config": {}}, {"class_name": "RandomFlip", "config": {}},
              {"class_name": "Rescaling", "config": {"scale": 1 / 255, "offset": 0.0}}], (0, 255)),
            ([{"class_name": "Rescaling", "config": {"scale": 1 / 127.5, "offset": -1}}], (0, 255)),
            ([{"class_name": "Functional", "config": {"layers": [
                {"class_name": "Rescaling", "config": {"scale": 1 / 255}}]}}], (0, 255)),
            ([{"class_name": "Dense", "config": {}}], None),
            ([], None),
        ],
    )  # fmt: skip
    def test_a_first_rescaling_layer_says_what_is_expected(self, tmp_path, layers, expected):
        path = tmp_path / "model.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}}))

        found = expected_range(FLOATS, Model(path=path, format="keras"))

        assert (found is None) == (expected is None)
        if found and expected:
            assert (round(found.low, 3), round(found.high, 3)) == expected
            assert "Rescaling" in found.origin

    def test_a_range_can_be_given(self, tmp_path):
        found = cleaned(save(tmp_path, x=pairs(9)), expected=ValueRange(low=0, high=255, origin="you"))

        assert "but the model takes 0 to 255 (you)" in found.report.warnings[0]


class TestOverview:
    def test_it_counts_classes_and_splits(self, tmp_path):
        overview = check_dataset(save(tmp_path, x=pairs(100), y=np.arange(100) % 2))

        assert [(c.name, c.samples, c.splits) for c in overview.classes] == [
            ("0", 50, (40, 3, 7, 0)), ("1", 50, (40, 2, 8, 0)),
        ]  # fmt: skip
        assert overview.splits == (80, 5, 15, 0)
        assert json.loads(json.dumps(overview.to_json()))["splits"]["calibration"] == 5

    def test_samples_of_a_regression_have_no_classes(self, tmp_path):
        overview = check_dataset(save(tmp_path, x=pairs(20), y=np.linspace(0, 1, 20)))

        assert overview.classes == ()
        assert overview.targets == 1

    @pytest.mark.parametrize(
        ("shape", "classes"),
        [((None, 10), 10), ((None, 1), None), ((1, 1, 1, 5), 5), ((None, 4, 4, 3), None), ((), None)],
    )
    def test_classes_of_a_model(self, shape, classes):
        assert class_count((TensorSpec(name="y", dtype="float32", shape=shape),)) == classes
