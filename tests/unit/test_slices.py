"""Slices: read from every kind of dataset, and scored each by itself."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tinsmith.convert.commands.class_view import slice_losses, worst_slices
from tinsmith.convert.data import open_dataset
from tinsmith.convert.data.dataset import Dataset
from tinsmith.convert.data.fitting import Fit
from tinsmith.convert.data.metadata import Metadata
from tinsmith.convert.data.records import RecordSource
from tinsmith.convert.data.slices import slices_of_cells
from tinsmith.convert.data.source import Origin
from tinsmith.convert.evaluation import evaluate
from tinsmith.convert.metrics import metric_named
from tinsmith.convert.slice_scores import share_error
from tinsmith.runtime.commands.output import console
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.preprocessing import Preprocessing
from tinsmith.runtime.tensors import TensorSpec

CLASSES = 3
FLOATS = TensorSpec(name="x", dtype="float32", shape=(None, CLASSES))


class Echo:
    """Answers with what it is fed."""

    inputs = (FLOATS,)
    outputs = (TensorSpec(name="y", dtype="float32", shape=(None, CLASSES)),)

    def run(self, feeds):
        return {"y": feeds["x"]}


def samples(named, labels, **columns):
    """Samples that Echo takes for the named classes."""
    fit = Fit(where="memory", spec=FLOATS, preprocessing=Preprocessing())
    facts = Metadata(
        labels=np.asarray(labels, dtype=np.int64), slices=tuple(slices_of_cells(*item) for item in columns.items())
    )
    rows = np.eye(CLASSES, dtype=np.float32)[named]
    return Dataset(RecordSource({"x": (rows, fit)}, facts, Origin(name="memory", where="memory")))


def cells(dataset):
    return {column.column: column.cells for column in dataset.slices}


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from("abc"), st.sampled_from("xy")),
    min_size=1,
    max_size=150,
)


class TestScores:
    @given(ROWS)
    def test_every_column_counts_every_sample_once(self, rows):
        named, labels, camera, site = map(list, zip(*rows, strict=True))
        found = evaluate(Echo(), samples(named, labels, camera=camera, site=site))

        for column, said in (("camera", camera), ("site", site)):
            parts = [one for one in found.slices if one.column == column]
            assert sum(one.samples for one in parts) == found.samples
            assert sum(one.correct for one in parts) == found.correct
            for one in parts:
                mine = [a == b for a, b, where in zip(named, labels, said, strict=True) if where == one.name]
                assert (one.samples, one.correct) == (len(mine), sum(mine))
                assert one.score == one.accuracy == pytest.approx(np.mean(mine))

    @given(ROWS, st.randoms())
    def test_the_order_of_samples_does_not_matter(self, rows, random):
        mixed = random.sample(rows, len(rows))
        first, second = (
            evaluate(Echo(), samples(named, labels, camera=camera))
            for named, labels, camera, _ in (map(list, zip(*some, strict=True)) for some in (rows, mixed))
        )
        assert first.slices == second.slices

    @given(ROWS)
    def test_a_slice_scores_as_if_there_were_nothing_else(self, rows):
        named, labels, camera, _ = map(list, zip(*rows, strict=True))
        metric = metric_named("auc")
        try:
            found = evaluate(Echo(), samples(named, labels, camera=camera), metric)
        except DataError:  # there is one class alone
            return
        for one in found.slices:
            mine = [(a, b) for a, b, where in zip(named, labels, camera, strict=True) if where == one.name]
            alone = samples(*map(list, zip(*mine, strict=True)))
            if one.score is None:
                with pytest.raises(DataError):
                    evaluate(Echo(), alone, metric)
            else:
                assert one.score == evaluate(Echo(), alone, metric).score

    def test_the_largest_loss_comes_first(self):
        labels, camera = [0] * 6, ["night", "night", "day", "day", "day", "dusk"]
        before = evaluate(Echo(), samples([0] * 6, labels, camera=camera))
        after = evaluate(Echo(), samples([0, 1, 0, 0, 1, 0], labels, camera=camera))

        assert [(one.name, round(change, 3)) for one, change in after.lost_by_slice(before)] == [
            ("night", -0.5), ("day", -0.333), ("dusk", 0.0),
        ]  # fmt: skip
        assert [one.name for one in after.worst_slices] == ["night", "day", "dusk"]

    def test_errors_that_grow_are_losses(self):
        x, camera = np.zeros(4, dtype=int), ["a", "a", "b", "b"]
        metric = metric_named("mae")
        data = [samples(x + shift, [0] * 4, camera=camera) for shift in ([0, 0, 0, 0], [0, 0, 1, 1])]
        for one in data:
            one.source.metadata = Metadata(targets=np.eye(3, dtype=np.float32)[[0] * 4], slices=one.slices)
        before, after = (evaluate(Echo(), one, metric) for one in data)

        (worst, change), _ = after.lost_by_slice(before)
        assert (worst.name, round(change, 3), worst.correct) == ("b", -0.667, None)

    def test_three_right_of_three_are_no_certainty(self):
        found = evaluate(Echo(), samples([0, 0, 0], [0, 0, 0], camera=["a"] * 3))

        (one,) = found.slices
        assert one.has_few
        assert one.standard_error == share_error(3, 3) > 0.15
        assert share_error(500, 1000) == pytest.approx(0.0158, abs=1e-4)

    def test_samples_without_slices_report_none(self):
        found = evaluate(Echo(), samples([0, 1], [0, 0]))

        assert found.slices == ()
        assert "slices" not in found.to_json()

    def test_the_tables_name_the_worst_first_and_flag_the_small(self, capsys):
        camera = ["night"] * 4 + ["[day]"] * 40
        before, after = (
            evaluate(Echo(), samples([answer] * 4 + [0] * 40, [0] * 44, camera=camera)) for answer in (0, 1)
        )
        view = [*worst_slices(after, "m"), *slice_losses(after, before, "m", against="the first")]
        for part in view:
            console().print(part, markup=False)
        lines = [line for line in capsys.readouterr().out.splitlines() if "camera=" in line]

        assert [line.split()[0] for line in lines] == ["camera=night", "camera=[day]"] * 2
        assert "few" in lines[0]
        assert "few" not in lines[1]
        assert lines[2].split()[-1] == "-100.0"
        json.dumps(after.to_json(), allow_nan=False)


class TestSources:
    def test_npz_takes_the_array_slice(self, tmp_path):
        np.savez(tmp_path / "d.npz", x=np.zeros((3, 3), np.float32), y=[0, 1, 2], slice=["a", "b", " "])

        for inputs in ((FLOATS,), None):
            dataset = open_dataset(tmp_path / "d.npz", inputs)
            assert cells(dataset) == {"slice": ("a", "b", "(none)")}
            assert set(next(dataset.batches(3)).feeds) == {"x"}

    def test_data_yaml_names_columns(self, tmp_path):
        np.savez(tmp_path / "d.npz", x=np.zeros((2, 3)), camera=np.array([b"l", b"r"]), site=[[7], [8]])
        (tmp_path / "data.yaml").write_text("source: d.npz\nslices: [site, camera]\n")
        dataset = open_dataset(tmp_path / "data.yaml", (FLOATS,))

        assert cells(dataset) == {"site": ("7", "8"), "camera": ("l", "r")}
        assert dataset.sha256 == open_dataset(tmp_path / "d.npz", (FLOATS,)).sha256

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"camera": [0.5, 1.5]}, "holds real numbers"),
            ({"camera": ["a"]}, "no slices of 2 samples"),
            ({}, "no column 'camera'"),
        ],
    )
    def test_what_is_no_slice_is_refused(self, tmp_path, columns, said):
        np.savez(tmp_path / "d.npz", x=np.zeros((2, 3)), **columns)
        (tmp_path / "data.yaml").write_text("source: d.npz\nslices: camera\n")

        with pytest.raises(DataError, match=said):
            open_dataset(tmp_path / "data.yaml", (FLOATS,))

    def test_tables_take_any_named_columns(self, tmp_path):
        (tmp_path / "d.csv").write_text('x,label,camera,site\n"[1,2,3]",0,l,\n"[1,2,3]",1,r,north\n')
        (tmp_path / "data.yaml").write_text("source: d.csv\nslices: [camera, site]\n")
        dataset = open_dataset(tmp_path / "data.yaml", (FLOATS,))

        assert cells(dataset) == {"camera": ("l", "r"), "site": ("(none)", "north")}
        (tmp_path / "data.yaml").write_text("source: d.csv\nslices: [kamera]\n")
        with pytest.raises(DataError, match="no column 'kamera'"):
            open_dataset(tmp_path / "data.yaml", (FLOATS,))

    def test_a_folder_has_a_table_of_slices(self, tmp_path):
        for name in ("pets/cat/1.png", "pets/cat/2.png", "pets/dog/1.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(tmp_path / name)
        table = tmp_path / "pets" / "slices.csv"
        table.write_text("file,slice\ndog/1.png,night\ncat/1.png,day\ncat/2.png,night\n")

        assert cells(open_dataset(tmp_path / "pets", None)) == {"slice": ("day", "night", "night")}
        table.write_text("file,slice\ndog/1.png,night\n")
        with pytest.raises(DataError, match=r"no row for .cat/1\.png"):
            open_dataset(tmp_path / "pets", None)
        table.write_text("path,slice\ndog/1.png,night\n")
        with pytest.raises(DataError, match="no column 'file'"):
            open_dataset(tmp_path / "pets", None)

    def test_functions_give_arrays_or_a_third_of_a_pair(self, tmp_path):
        (tmp_path / "sliced_data.py").write_text(
            "import numpy as np\n"
            "def arrays():\n    return {'x': np.zeros((2, 3)), 'y': np.array([0, 1]), 'slice': np.array(['a', 'b'])}\n"
            "def stream():\n    return [(np.zeros(3), 0, {'camera': 'l'}), (np.ones(3), 1, {'camera': 'r'})]\n"
            "def torn():\n    return [(np.zeros(3), 0, {'camera': 'l'}), (np.ones(3), 1)]\n"
        )

        assert cells(open_dataset("sliced_data:arrays", (FLOATS,))) == {"slice": ("a", "b")}
        stream = open_dataset("sliced_data:stream", (FLOATS,))
        assert cells(stream) == {"camera": ("l", "r")}
        assert next(stream.batches(2)).labels.tolist() == [0, 1]
        with pytest.raises(DataError, match="1 slices 'camera' for 2 samples"):
            open_dataset("sliced_data:torn", (FLOATS,))


def test_an_npz_may_say_its_splits_too(tmp_path):
    said = ["calib", "test", "test", "train"]
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3)), y=[0, 1, 2, 0], split=said)
    dataset = open_dataset(tmp_path / "d.npz", (FLOATS,))

    assert dataset.split_by_user
    assert dataset.splits(0).test.positions.tolist() == [1, 2]
    assert dataset.splits(0).calibration.positions.tolist() == [0]
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3)), split=["calib", "test", "odd", "train"])
    with pytest.raises(DataError, match="in the split 'odd'"):
        open_dataset(tmp_path / "d.npz", (FLOATS,))
