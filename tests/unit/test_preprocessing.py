import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tinsmith.runtime.errors import DataError, UnreadableSampleError
from tinsmith.runtime.preprocessing import (
    CenterCrop,
    ChannelsFirst,
    Decode,
    Normalize,
    Pad,
    Preprocessing,
    Resize,
    Scale,
    Tokenise,
    read_vocabulary,
)

FILTERS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
FITS = ["stretch", "cover", "contain"]
WORDS = ("<pad>", "<start>", "<unknown>", "good", "film")


def picture(height=6, width=9, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(stream, "png")
    return stream.getvalue()


sizes = st.integers(1, 40)
finite = st.floats(-1e6, 1e6)
operations = st.one_of(
    st.builds(Decode, channels=st.sampled_from(["rgb", "grey"])),
    st.builds(Resize, height=sizes, width=sizes, filter=st.sampled_from(FILTERS), fit=st.sampled_from(FITS)),
    st.builds(CenterCrop, height=sizes, width=sizes),
    st.just(ChannelsFirst()),
    st.builds(Scale, multiply=finite, offset=finite),
    st.lists(st.tuples(finite, st.floats(0.01, 100)), min_size=1, max_size=4).map(
        lambda pairs: Normalize(mean=tuple(m for m, _ in pairs), std=tuple(s for _, s in pairs))
    ),
    st.builds(
        Tokenise,
        vocabulary=st.lists(st.text(max_size=5), max_size=5).map(lambda words: (*WORDS, *words)),
        split=st.sampled_from([r"\s+", r"[^\w']+"]),
        start=st.sampled_from([None, "<start>"]),
        unknown=st.sampled_from([None, "<unknown>"]),
        lowercase=st.booleans(),
    ),
    st.builds(Pad, length=sizes, value=st.integers(-5, 5)),
)


@given(st.lists(operations, max_size=5))
def test_every_pipeline_survives_json(steps):
    pipeline = Preprocessing(operations=tuple(steps))

    assert Preprocessing.from_json(json.loads(json.dumps(pipeline.to_json()))) == pipeline


class TestPictures:
    @settings(max_examples=40)
    @given(sizes, sizes, sizes, sizes, st.sampled_from(FILTERS), st.sampled_from([1, 3]))
    def test_a_stretch_is_pillows_own_resize(self, height, width, to_height, to_width, name, channels):
        pixels = picture(height, width, channels)
        image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
        expected = np.asarray(image.resize((to_width, to_height), Image.Resampling[name.upper()]))

        resized = Resize(height=to_height, width=to_width, filter=name).apply(pixels)

        assert resized.dtype == np.uint8
        assert np.array_equal(resized, expected.reshape(to_height, to_width, channels))

    def test_real_numbers_stay_real(self):
        pixels = picture().astype(np.float32) / 255

        resized = Resize(height=3, width=3).apply(pixels)

        assert resized.dtype == np.float32
        assert 0 <= resized.min() <= resized.max() <= 1

    @settings(max_examples=40)
    @given(sizes, sizes, sizes, sizes, st.sampled_from(FITS))
    def test_any_fit_gives_the_asked_size(self, height, width, to_height, to_width, fit):
        assert Resize(height=to_height, width=to_width, fit=fit).apply(picture(height, width)).shape == (
            to_height,
            to_width,
            3,
        )

    def test_cover_cuts_and_contain_fills_what_stretch_distorts(self):
        wide = np.full((10, 20, 1), 200, np.uint8)
        wide[:, :5] = wide[:, 15:] = 100

        assert np.unique(Resize(height=10, width=10, fit="cover").apply(wide)).tolist() == [200]
        contained = Resize(height=20, width=20, fit="contain", filter="nearest").apply(wide)
        assert not contained[:5].any()
        assert not contained[15:].any()
        assert np.array_equal(contained[5:15], wide)

    def test_a_crop_takes_the_middle(self):
        pixels = picture(7, 8)

        assert np.array_equal(CenterCrop(height=3, width=4).apply(pixels), pixels[2:5, 2:6])
        with pytest.raises(DataError, match="smaller than 9x4"):
            CenterCrop(height=9, width=4).apply(pixels)

    @pytest.mark.parametrize(("channels", "count"), [("rgb", 3), ("grey", 1)])
    def test_decodes_paths_bytes_and_lets_pixels_pass(self, tmp_path, channels, count):
        pixels = picture(channels=count)
        path = tmp_path / "a.png"
        path.write_bytes(png(pixels))

        for sample in (path, path.read_bytes(), pixels):
            assert np.array_equal(Decode(channels=channels).apply(sample), pixels)

    def test_what_is_no_image_is_told_from_other_mistakes(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"no image")

        for sample in (tmp_path / "a.png", b"", tmp_path / "none.png"):
            with pytest.raises(UnreadableSampleError, match="can't be read as an image"):
                Decode().apply(sample)
        with pytest.raises(DataError, match="is text"):
            Decode().apply("a.png")
        with pytest.raises(DataError, match="is no rgb picture"):
            Decode().apply(picture(channels=1))

    @given(
        sizes.map(lambda n: n + 8), sizes.map(lambda n: n + 8), st.sampled_from(FITS), sizes.map(lambda n: n + 8),
        st.booleans(),
    )  # fmt: skip
    def test_framing_tells_which_part_of_a_picture_is_left(self, height, width, fit, side, cropped):
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
        picture = np.stack([rows / height, columns / width], axis=-1)  # each pixel says where it was
        crop = (CenterCrop(height=max(1, side // 2), width=max(1, side - 3)),) if cropped else ()
        steps = Preprocessing(operations=(Resize(height=side, width=side + 3, fit=fit), *crop))

        seen, part = steps.apply(picture), steps.framing(height, width)

        edges = (part.top, part.bottom), (part.left, part.right)
        for axis, (low, high) in enumerate(edges):
            steps_of_axis = (np.arange(seen.shape[axis]) + 0.5) / seen.shape[axis]
            expected = low + steps_of_axis * (high - low)
            middle = np.take(seen[..., axis], seen.shape[1 - axis] // 2, axis=1 - axis)
            inner = (expected > 0.2) & (expected < 0.8)  # at the edges the filter has less to mix
            blur = 1.1 / min(picture.shape[axis], seen.shape[axis] / (high - low))
            np.testing.assert_allclose(middle[inner], expected[inner], atol=blur)

    def test_channels_first(self):
        assert ChannelsFirst().apply(picture(2, 3)).shape == (3, 2, 3)


class TestNumbers:
    def test_scale_and_normalize_give_float32(self):
        pixels = picture()

        scaled = Scale(multiply=1 / 127.5, offset=-1).apply(pixels)
        normal = Normalize(mean=(10, 20, 30), std=(1, 2, 4)).apply(pixels)

        assert scaled.dtype == normal.dtype == np.float32
        assert np.allclose(scaled, pixels / 127.5 - 1, atol=1e-6)
        assert np.allclose(normal, (pixels - np.array([10, 20, 30])) / [1, 2, 4], atol=1e-4)

    def test_one_mean_serves_every_channel_and_another_number_of_them_none(self):
        assert np.allclose(Normalize(mean=(2,), std=(4,)).apply(np.full((3, 5), 10.0)), 2)
        with pytest.raises(DataError, match="mean has 2 numbers"):
            Normalize(mean=(1, 2), std=(1, 2)).apply(picture())


class TestText:
    TOKENISE = Tokenise(vocabulary=WORDS, split=r"[^\w']+", start="<start>", unknown="<unknown>")

    def test_words_become_numbers(self):
        assert self.TOKENISE.apply("Good, good FILM... isn't it?").tolist() == [1, 3, 3, 4, 2, 2]
        assert Tokenise(vocabulary=WORDS).apply("a good film").tolist() == [3, 4]
        assert Tokenise(vocabulary=WORDS).apply("").dtype == np.int32

    @given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 12))
    def test_padding_keeps_the_beginning(self, numbers, length):
        padded = Pad(length=length, value=7).apply(np.array(numbers, np.int32))

        assert padded.tolist() == (numbers + [7] * length)[:length]
        assert padded.dtype == np.int32

    def test_a_value_that_the_dtype_can_not_hold(self):
        with pytest.raises(DataError, match="does not fit uint8"):
            Pad(length=3, value=-1).apply(np.zeros(2, np.uint8))

    def test_a_vocabulary_file_with_or_without_numbers(self, tmp_path):
        path = tmp_path / "words.txt"
        path.write_text("the\na\n")
        assert read_vocabulary(path) == ("the", "a")
        path.write_text("the 3\na 1\n")
        assert read_vocabulary(path) == ("", "a", "", "the")
        path.write_text("the 1\na 1\n")
        with pytest.raises(DataError, match="two words one number"):
            read_vocabulary(path)
        path.write_text("")
        with pytest.raises(DataError, match="is empty"):
            read_vocabulary(path)


class TestPipelines:
    @pytest.mark.parametrize(
        ("operations", "after", "before"),
        [
            ((), (4, 5), (4, 5)),
            ((Scale(), Normalize(mean=(1, 2, 3), std=(1, 1, 1))), (None, 3), (None, 3)),
            ((Scale(), ChannelsFirst()), (3, 4, 5), (4, 5, 3)),
            ((ChannelsFirst(),), (3, 4), None),
            ((Resize(height=4, width=5), ChannelsFirst()), (3, 4, 5), None),
            ((Scale(), CenterCrop(height=4, width=5)), (4, 5, 3), None),
            ((Pad(length=3), Scale()), (3,), None),
        ],
    )
    def test_the_shape_before_is_told_where_there_is_only_one(self, operations, after, before):
        assert Preprocessing(operations=operations).shape_before(after) == before

    def test_operations_follow_each_other(self):
        pipeline = Preprocessing(operations=(Decode(), Resize(height=4, width=5), Scale(multiply=1 / 255)))

        fed = pipeline.apply(png(picture()))

        assert (fed.shape, fed.dtype) == ((4, 5, 3), np.float32)
        assert fed.max() <= 1

    def test_without_operations_arrays_pass_and_nothing_else(self):
        assert Preprocessing().apply(np.zeros(3)).dtype == np.float32
        assert Preprocessing().apply(np.zeros(3, np.int32)).dtype == np.int32
        with pytest.raises(DataError, match="no operation turns it into numbers") as caught:
            Preprocessing().apply("text")
        assert "tokenise" in caught.value.hint
        with pytest.raises(DataError, match="still a file"):
            Preprocessing(operations=(Scale(),)).apply(b"x")

    @pytest.mark.parametrize(
        ("item", "said"),
        [
            ({"kind": "resise", "height": 3}, "'resise' is no operation"),
            ({}, "without a kind"),
            ({"kind": ["resize"]}, "is no operation"),
            ({"kind": "scale", "multiply": [1, 2]}, "multiply must be a number"),
            ({"kind": "scale", "multiply": 1e39}, "multiply must be a number that float32 can hold"),
            ({"kind": "normalize", "mean": [1], "std": [1e-60]}, "std must be above zero"),
            ("resize", "without a kind"),
            ({"kind": "resize", "height": 3}, "missing setting 'width'"),
            ({"kind": "resize", "height": 3, "width": 4, "hieght": 3}, "unknown setting 'hieght'"),
            ({"kind": "resize", "height": 0, "width": 4}, "height must be a whole number from 1 on, not 0"),
            ({"kind": "resize", "height": 3, "width": 4, "filter": "cubic"}, "filter must be one of"),
            ({"kind": "resize", "height": 3, "width": 4, "fit": "crop"}, "fit must be one of"),
            ({"kind": "decode", "channels": 3}, "channels must be rgb or grey"),
            ({"kind": "scale", "multiply": "1/255"}, "multiply must be a number that float32 can hold, not '1/255'"),
            ({"kind": "scale", "offset": float("nan")}, "offset must be a number"),
            ({"kind": "normalize", "mean": [1, 2], "std": [1]}, "mean has 2 numbers, and std has 1"),
            ({"kind": "normalize", "mean": [1], "std": [0]}, "std must be above zero"),
            ({"kind": "tokenise", "vocabulary": "words.txt"}, "vocabulary must be a list of words"),
            ({"kind": "tokenise", "vocabulary": ["a"], "split": "["}, "is no regular expression"),
            ({"kind": "tokenise", "vocabulary": ["a"], "start": "b"}, "start 'b' does not stand in the vocabulary"),
            ({"kind": "pad", "length": True}, "length must be a whole number"),
        ],
    )
    def test_mistakes_are_named(self, item, said):
        with pytest.raises(DataError) as caught:
            Preprocessing.from_json([item])

        assert said in caught.value.message
        assert caught.value.hint


def test_a_thin_picture_is_not_blown_up_to_cover_a_square():
    thin = np.zeros((1, 1_000_000, 3), np.uint8)

    with pytest.raises(DataError, match="32 x 32000000 pixels"):
        Resize(height=32, width=32, fit="cover").apply(thin)


def test_a_resize_beyond_what_a_picture_may_have_is_refused():
    with pytest.raises(DataError, match="1000000 x 1000000 pixels"):
        Resize(height=1_000_000, width=1_000_000)
