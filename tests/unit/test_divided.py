"""Work that is divided among workers, who are played by this process; and the files that they are sent."""

import numpy as np
import pytest

from tinsmith.convert.divided import calibrate_divided, evaluate_divided
from tinsmith.convert.evaluation import evaluate_models
from tinsmith.convert.observation import Part, calibrate
from tinsmith.convert.parcels import Parcel, Place, located, parcel_of_data, parcel_of_model, take_in
from tinsmith.convert.workers import Lost, Returned
from tinsmith.runtime.errors import DataError, HostError


class Backwards:
    """Workers that are done in the wrong order, each on a machine of its own; those in ``lost`` never are."""

    def __init__(self, count, folder, lost=()):
        self.count, self._folder, self._lost = count, folder, lost

    def run(self, errands):
        for number, errand in reversed(list(enumerate(errands))):
            if number in self._lost:
                yield Lost(number=number, reason="it was killed")
                continue
            folder = self._folder / str(number)
            for parcel in errand.parcels.values():
                take_in(parcel, parcel.content(), folder)
            places = {called: str(folder / parcel.name / parcel.entry) for called, parcel in errand.parcels.items()}
            yield Returned(number=number, value=errand.work(errand.task, places, str(folder)))


@pytest.fixture
def data(tmp_path):
    """Samples whose parts differ: rising brightness, in the order of the labels."""
    rng = np.random.default_rng(0)
    brightness = np.linspace(0.1, 5, 203, dtype=np.float32)[:, None, None, None]
    x = rng.random((203, 8, 8, 1), np.float32) * brightness
    (tmp_path / "here").mkdir()
    np.savez(
        tmp_path / "here" / "d.npz", x=x, y=np.sort(rng.integers(0, 3, 203)), slice=np.array(list("ab" * 101 + "a"))
    )
    (tmp_path / "here" / "data.yaml").write_text("source: d.npz\nlabels: names.txt\n")
    (tmp_path / "here" / "names.txt").write_text("left\nright\nodd\n")
    return tmp_path / "here" / "data.yaml"


@pytest.mark.parametrize("count", [1, 2, 3, 150])
def test_parts_are_all_samples_once_in_order_and_begin_with_an_even_one(count):
    for samples in (1, 2, 7, 64, 203):
        places = [np.flatnonzero(part.chosen(samples)) for part in Part.all(count)]
        assert np.concatenate(places).tolist() == list(range(samples))
        assert all(found[0] % 2 == 0 for found in places if len(found))


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_divided_calibration_is_that_of_one_machine(golden, data, tmp_path, suffix, count):
    model = golden / f"cnn.{suffix}"
    alone = calibrate(model, data, tmp_path / "alone.npz")

    found = calibrate_divided(Backwards(count, tmp_path), model, data, tmp_path / "divided.npz")

    assert (found.model_sha256, found.samples) == (alone.model_sha256, 203)
    for name, seen in alone.tensors.items():
        for half, other in zip(seen.halves, found.tensors[name].halves, strict=True):
            assert half.extremes == other.extremes
            assert np.array_equal(half.histogram.counts, other.histogram.counts)
            assert half.average.range.low == pytest.approx(other.average.range.low, rel=1e-6)
            assert half.average.range.high == pytest.approx(other.average.range.high, rel=1e-6)


@pytest.mark.parametrize("metric", [None, "auc", "top-2"])
def test_a_divided_evaluation_is_that_of_one_machine(golden, data, tmp_path, metric):
    models = [golden / "cnn.tflite", golden / "cnn_int8.tflite"]

    found = evaluate_divided(Backwards(3, tmp_path), models, data, metric=metric)

    for here, there in zip(evaluate_models(models, data, metric=metric), found, strict=True):
        assert there.to_json() == here.to_json()
        assert there.answers == here.answers
        assert there.slices


def test_more_workers_than_samples_do_no_harm(golden, data, tmp_path):
    workers = Backwards(4, tmp_path)

    calibrate_divided(workers, golden / "dense.tflite", small(tmp_path), tmp_path / "r.npz")
    (found,) = evaluate_divided(workers, [golden / "dense.tflite"], small(tmp_path))

    assert found.samples == 3


def small(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "small.npz", x=rng.random((3, 4), np.float32), y=np.arange(3))
    return tmp_path / "small.npz"


def test_a_part_that_is_lost_leaves_no_file(golden, data, tmp_path):
    with pytest.raises(HostError, match="it was killed"):
        calibrate_divided(Backwards(3, tmp_path, lost=[1]), golden / "cnn.tflite", data, tmp_path / "r.npz")

    assert not (tmp_path / "r.npz").exists()


def test_a_parcel_is_read_where_it_lies_and_unpacked_where_it_does_not(golden, data, tmp_path):
    parcel = parcel_of_data(data)
    assert set(parcel.sha256) == {"data.yaml", "d.npz", "names.txt"}
    assert located(parcel, tmp_path / "worker") == str(data)

    content = parcel.content()
    (data.parent / "names.txt").write_text("other\n")
    assert located(parcel, tmp_path / "worker") is None
    take_in(parcel, content, tmp_path / "worker")
    found = located(parcel, tmp_path / "worker")
    assert parcel_of_data(found) == Parcel(
        root=tmp_path / "worker" / parcel.name, entry="data.yaml", sha256=parcel.sha256
    )


def test_a_model_goes_with_all_its_files(golden, tmp_path):
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "variables/variables.index"):
        (folder / name).write_bytes(name.encode())

    parcel = parcel_of_model(folder)

    assert parcel.entry == "saved"
    assert set(parcel.sha256) == {"saved/saved_model.pb", "saved/variables/variables.index"}
    assert parcel_of_model(golden / "cnn.onnx").entry == "cnn.onnx"


def test_a_folder_of_samples_has_to_be_there(tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("source: images\n")

    places = [parcel_of_data(name) for name in (tmp_path / "images", tmp_path / "data.yaml", "tfds:mnist", "mine:f")]

    assert all(isinstance(place, Place) for place in places)
    assert [located(place, tmp_path) for place in places] == [place.reference for place in places]
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    for place in places[:2]:
        with pytest.raises(DataError, match="images is not there"):
            located(place, tmp_path)
