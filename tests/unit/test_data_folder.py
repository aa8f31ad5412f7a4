import numpy as np
import pytest
from PIL import Image

from tinsmith.convert.data import open_dataset
from tinsmith.runtime.errors import DataError
from tinsmith.runtime.tensors import TensorSpec

FLOATS = TensorSpec(name="input_1", dtype="float32", shape=(None, 4, 3))
IMAGES = TensorSpec(name="image", dtype="float32", shape=(None, 6, 8, 3))


def gather(dataset, name):
    return np.concatenate([batch.feeds[name] for batch in dataset.batches(3)])


def refusal(path, *inputs):
    with pytest.raises(DataError) as caught:
        list(open_dataset(path, inputs).batches(4))
    return caught.value.message


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for number, name in enumerate(["dog", "cat"]):
        (folder / name).mkdir(parents=True)
        for shot in range(2):
            Image.new("RGB", (16, 12), (10 * number, 100 + shot, 200)).save(folder / name / f"{shot}.png")
    (folder / ".cache").mkdir()
    (folder / "README.md").write_text("not a class")
    return folder


class TestFolder:
    def test_sorted_folder_names_are_the_classes(self, pictures):
        dataset = open_dataset(pictures, (IMAGES,))

        assert dataset.class_names == ("cat", "dog")
        assert dataset.labels.tolist() == [0, 0, 1, 1]

    def test_images_come_resized_and_raw(self, pictures):
        fed = gather(open_dataset(pictures, (IMAGES,)), "image")

        assert fed.shape == (4, 6, 8, 3)
        assert fed.dtype == np.float32
        assert fed[:, 0, 0].tolist() == [[10, 100, 200], [10, 101, 200], [0, 100, 200], [0, 101, 200]]

    def test_channels_come_first_where_the_model_wants_them_first(self, pictures):
        first = TensorSpec(name="image", dtype="float32", shape=(1, 3, 6, 8))

        assert gather(open_dataset(pictures, (first,)), "image")[0, :, 0, 0].tolist() == [10, 100, 200]

    def test_a_model_with_one_channel_sees_grey(self, pictures):
        grey = TensorSpec(name="image", dtype="uint8", shape=(None, 6, 8, 1))
        fed = gather(open_dataset(pictures, (grey,)), "image")

        assert fed.dtype == np.uint8
        assert fed.shape == (4, 6, 8, 1)

    def test_a_part_reads_its_own_files_only(self, pictures):
        (pictures / "dog" / "1.png").write_bytes(b"no image")
        dataset = open_dataset(pictures, (IMAGES,)).take(3)

        assert gather(dataset, "image").shape[0] == 3

    @pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
    def test_an_unreadable_image_is_named(self, pictures, content):
        (pictures / "dog" / "1.png").write_bytes(content)

        assert f"{pictures / 'dog' / '1.png'} can't be read as an image" in refusal(pictures, IMAGES)

    def test_a_truncated_image_is_named(self, pictures):
        path = pictures / "cat" / "0.png"
        Image.effect_noise((64, 64), 50).save(path)
        path.write_bytes(path.read_bytes()[:-800])

        assert f"{path} can't be read as an image" in refusal(pictures, IMAGES)

    def test_an_image_that_unfolds_into_gigabytes_is_refused(self, pictures, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)

        assert "decompression bomb" in refusal(pictures, IMAGES)

    def test_one_class_is_no_dataset(self, pictures):
        for file in (pictures / "dog").iterdir():
            file.unlink()
        (pictures / "dog").rmdir()

        assert "holds only the folder 'cat'" in refusal(pictures, IMAGES)

    def test_a_folder_without_folders(self, tmp_path):
        assert "holds no folders" in refusal(tmp_path, IMAGES)

    def test_a_class_without_images(self, pictures):
        (pictures / "bird").mkdir()

        assert f"{pictures / 'bird'} holds no images" in refusal(pictures, IMAGES)

    def test_a_model_that_takes_no_images(self, pictures):
        assert "has shape [None, 4, 3]" in refusal(pictures, FLOATS)
        assert "has 2 inputs" in refusal(pictures, IMAGES, FLOATS)

    def test_a_model_of_open_size(self, pictures):
        assert "images of any size" in refusal(
            pictures, TensorSpec(name="image", dtype="float32", shape=(None, None, None, 3))
        )
