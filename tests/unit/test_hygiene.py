"""Hygiene of calibration samples: each fault is found, and nothing else is."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.compress.compression import compress
from tinsmith.compress.recipe import load_recipe
from tinsmith.convert.data import open_dataset
from tinsmith.convert.data.dataset import Dataset
from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.hygiene import check_calibration, look_at_calibration, refuse_constant
from tinsmith.convert.data.metadata import Metadata
from tinsmith.convert.data.ranges import ValueRange
from tinsmith.convert.data.records import RecordSource
from tinsmith.convert.data.source import Origin
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.preprocessing import Preprocessing
from tinsmith.runtime.tensors import Quantization, TensorSpec

FLOATS = TensorSpec(name="x", dtype="float32", shape=(None, 2))


def dataset(x, labels=None, *, names=(), name="calib", spec=None):
    x = np.asarray(x)
    fit = Fit(where=name, spec=spec, preprocessing=Preprocessing())
    facts = Metadata(labels=None if labels is None else np.asarray(labels, dtype=np.int64), class_names=names)
    return Dataset(RecordSource({"x": (x, fit)}, facts, Origin(name=name, where=name)))


def drawn(count, seed=0):
    return np.random.default_rng(seed).random((count, 2)).astype(np.float32)


def faults(findings):
    return {finding.fault: finding.count for finding in findings}


class TestFaults:
    def test_a_clean_set_has_none(self):
        found = look_at_calibration(
            dataset(drawn(120), np.arange(120) % 3), dataset(drawn(50, 1), np.arange(50) % 3, name="test"), None, 3
        )
        assert (found.findings, found.unchecked, found.has_errors) == ((), (), False)
        assert (found.samples, found.against_samples) == (120, 50)

    @given(
        st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=30),
        st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=30),
        st.randoms(),
    )
    def test_the_overlap_is_that_of_the_sets(self, ours, theirs, random):
        pool = drawn(401, 3)
        found = faults(check_calibration(dataset(pool[ours]), dataset(pool[theirs], name="test"), None))
        assert found.get("overlap", 0) == len(set(ours) & set(theirs))
        mixed = dataset(pool[random.sample(ours, len(ours))]), dataset(pool[random.sample(theirs, len(theirs))])
        assert faults(check_calibration(*mixed, None)) == found

    def test_the_same_numbers_are_the_same_sample_in_any_dtype(self):
        pixels = np.random.default_rng(0).integers(0, 256, (120, 2))
        found = check_calibration(
            dataset(pixels.astype(np.uint8)), dataset(pixels[:1].astype(np.float32), name="test"), None
        )
        (overlap,) = [one for one in found if one.fault == "overlap"]
        assert (overlap.severity, overlap.count) == ("error", 1)
        assert overlap.examples == ("sample 0 (counted from 0) is sample 0 (counted from 0) of test",)

    @pytest.mark.parametrize(
        ("labels", "classes", "names", "expected"),
        [
            ([1] * 100, 2, (), {"one-class": 1}),
            ([2] * 100, None, (), {"one-class": 2}),
            ([0] * 100, 1, (), {}),
            (np.arange(100) % 3, 5, (), {"classes": 2}),
            (np.arange(100) % 3, None, ("a", "b", "c", "d"), {"classes": 1}),
            (np.arange(100) % 3, None, (), {}),
            (None, 5, (), {}),
        ],
    )
    def test_classes_that_are_lacking(self, labels, classes, names, expected):
        assert faults(check_calibration(dataset(drawn(100), labels, names=names), None, None, classes)) == expected

    def test_the_labels_of_the_evaluation_set_are_classes_too(self):
        ours, theirs = dataset(drawn(100), np.arange(100) % 2), dataset(drawn(9, 1), np.arange(9) % 3, name="test")
        assert faults(check_calibration(ours, theirs, None)) == {"classes": 1}

    @given(st.integers(1, 150), st.integers(1, 150))
    def test_few_and_duplicates_are_counted(self, distinct, copies):
        x = drawn(distinct)[np.arange(distinct + copies) % distinct]
        found = faults(check_calibration(dataset(x), None, None))
        assert found["duplicates"] == copies
        assert ("few" in found) == (distinct + copies < 100)

    def test_the_range_is_held_against_the_input_or_else_the_evaluation_set(self):
        spec = TensorSpec(
            name="x", dtype="int8", shape=(None, 2), quantization=Quantization(scale=(1.0,), zero_point=(-128,))
        )
        small, large = dataset(drawn(100), spec=spec), dataset(drawn(100, 1) * 255, name="test", spec=spec)
        (finding,) = check_calibration(small, None, (spec,))
        assert (finding.fault, finding.severity) == ("range", "warn")
        assert "takes 0 to 255" in finding.text
        assert check_calibration(large, None, (spec,)) == ()
        (finding,) = check_calibration(dataset(drawn(100)), large, None)
        assert "as test holds them" in finding.what
        said = ValueRange(low=-1, high=1, origin="you")
        assert faults(check_calibration(dataset(drawn(100) * 255), None, None, expected=said)) == {"range": 100}

    def test_samples_of_one_value_are_void(self):
        found = check_calibration(dataset(np.zeros((100, 2), np.float32)), None, None)
        assert faults(found) == {"constant": 100, "duplicates": 99}
        assert [one.severity for one in found] == ["error", "warn"]

    def test_unusable_samples_are_passed_over_and_said_to_be(self):
        x = drawn(120)
        x[7] = np.nan
        found = look_at_calibration(dataset(x), None, None)
        assert found.samples == 119
        assert "all but 119 of the 120 samples of calib" in found.unchecked
        assert faults(found.findings) == {}

    def test_a_bound_looks_at_the_first_and_says_so(self):
        found = look_at_calibration(dataset(drawn(300)), dataset(drawn(300), name="test"), None, at_most=150)
        assert faults(found.findings) == {"overlap": 150}
        assert sum("all but 150 of the 300" in said for said in found.unchecked) == 2
        json.dumps(asdict(found), allow_nan=False)


class TestConstant:
    @pytest.mark.parametrize("value", [0, 3])
    def test_it_is_refused(self, value):
        with pytest.raises(DataError, match=f"every value of calib is {value}"):
            refuse_constant(dataset(np.full((200, 2), value, np.float32)))

    def test_a_single_other_value_will_do(self):
        x = np.zeros((200, 2), np.float32)
        x[199, 1] = 0.5
        refuse_constant(dataset(x))

    def test_it_reads_no_further_than_it_must(self):
        x = drawn(200)
        x[150] = np.nan  # reading this batch would be an error
        refuse_constant(dataset(x, spec=FLOATS))


class TestCompress:
    def test_zeros_are_refused_and_nothing_is_written(self, golden, tmp_path):
        np.savez(tmp_path / "z.npz", x=np.zeros((20, 8, 8, 1), np.float32))
        with pytest.raises(DataError, match=r"every value of z\.npz is 0") as caught:
            compress(golden / "cnn.tflite", load_recipe("int8"), tmp_path / "x.tflite", data=tmp_path / "z.npz")
        assert "data check" in caught.value.hint
        assert not list(tmp_path.glob("x.tflite*"))

    def test_the_report_says_what_is_wrong_with_the_samples(self, golden, tmp_path):
        x = np.random.default_rng(0).random((60, 8 * 8)).round(3)
        x[50] = x[3]
        rows = [
            f'"{json.dumps(row.reshape(8, 8, 1).tolist())}",1,{"test" if at >= 40 else "calibration"}\n'
            for at, row in enumerate(x)
        ]
        (tmp_path / "d.csv").write_text("x,label,split\n" + "".join(rows))
        made = compress(golden / "cnn.tflite", load_recipe("int8"), tmp_path / "x.tflite", data=tmp_path / "d.csv")

        assert faults(made.hygiene.findings) == {"overlap": 1, "one-class": 2, "few": 40}
        assert made.to_json()["calibration"]["findings"][0]["fault"] == "overlap"
        assert made.balance.judged.after.samples == 20

    def test_without_calibration_there_is_nothing_to_say(self, golden, tmp_path):
        made = compress(golden / "cnn.tflite", load_recipe("dynamic-int8"), tmp_path / "x.tflite")
        assert made.hygiene is None


def test_the_overlap_is_found_across_kinds_of_files(tmp_path):
    x = drawn(120).round(3)
    np.savez(tmp_path / "a.npz", x=x.astype(np.float64))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"x": row}) + "\n" for row in x[5:8].astype(float).tolist()))
    a, b = (open_dataset(tmp_path / name, None) for name in ("a.npz", "b.jsonl"))

    assert faults(check_calibration(a, b, None)) == {"overlap": 3}
