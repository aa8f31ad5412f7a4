"""The predict call over the golden models: through the handler, and by curl."""

import io
import json
import re
import shutil
import subprocess
import sys
import threading
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tinsmith.runtime.postprocessing import Boxes, Labels, Output, Postprocessing, Softmax, Threshold, TopK
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
)
from tinsmith.runtime.server import predict as predicting
from tinsmith.runtime.session import Session

NAMES = ("bolt", "nut", "screw")
PICTURES = Preprocessing(
    operations=(Decode(channels="grey"), Resize(height=8, width=8), Scale(multiply=1 / 255))
)  # fmt: skip
WORDS = Preprocessing(operations=(Tokenise(vocabulary=("<pad>", "good", "bad")), Pad(length=4)))
BEST = Postprocessing(operations=(TopK(k=2), Labels(names=NAMES)))
CNN = ["cnn_tflite", "cnn_onnx", "cnn_int8_tflite"]


def png(height=20, width=30, seed=0):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def serve(repository):
    """Gives a golden model its pre- and postprocessing; the rest of its facts may be changed too."""

    def served(name, preprocessing=None, postprocessing=None, **facts):
        with repository.lease(name) as model:
            model.servable = replace(model.servable, preprocessing=preprocessing, postprocessing=postprocessing)
            for fact, value in facts.items():
                setattr(model, fact, value)
            return model

    return served


@pytest.fixture
def predict(handler, ask):
    """(model, Content-Type, body) -> status and document."""

    def predicted(name, kind, body, **more):
        response = ask(handler, "POST", f"/v2/models/{name}/predict", body, {"Content-Type": kind}, **more)
        return response.status, json.loads(response.body)

    return predicted


@pytest.mark.parametrize("name", CNN)
def test_an_image_gives_what_the_session_gives_named(serve, predict, name):
    model = serve(name, PICTURES, BEST)

    status, document = predict(name, "image/png", png())

    scores = model.session.run({model.inputs[0].name: PICTURES.apply(png())[None]})[model.outputs[0].name][0]
    best = np.argsort(-scores, kind="stable")[:2]
    assert status == 200
    assert (document["model_name"], document["model_version"]) == (name, "1")
    assert [(c["label"], c["index"]) for c in document["classes"]] == [(NAMES[n], n) for n in best]
    np.testing.assert_allclose([c["score"] for c in document["classes"]], scores[best], rtol=1e-6)
    counts = model.statistics.snapshot()
    assert (counts.success.count, counts.failure.count) == (1, 0)


@pytest.mark.parametrize("name", CNN)
def test_pixels_in_json_are_the_same_as_in_a_file(serve, predict, name):
    serve(name, PICTURES, BEST)
    pixels = np.asarray(Image.open(io.BytesIO(png())).convert("L"))[..., None].tolist()

    assert predict(name, "application/json", json.dumps({"data": pixels}).encode()) == predict(
        name, "application/octet-stream", png()
    )


@pytest.mark.parametrize("name", ["dense_tflite", "dense_onnx"])
def test_text_is_split_and_fed(serve, predict, name):
    model = serve(name, WORDS)

    status, document = predict(name, "text/plain; charset=utf-8", b"Good, bad bad good")

    fed = np.array([[2, 2, 1, 0]], np.float32)  # 'good,' is no word of the vocabulary
    np.testing.assert_allclose(document["outputs"]["y"], model.session.run({"x": fed})["y"][0], rtol=1e-6)
    assert status == 200
    assert predict(name, "application/json", b'{"text": "bad bad good"}')[1] == document


def test_a_model_about_which_nobody_said_anything_takes_numbers_and_gives_its_outputs(serve, predict):
    model = serve("dense_tflite")

    status, document = predict("dense_tflite", "application/json", b'{"data": [1, -2.5, 3, 1e3]}')

    expected = model.session.run({"x": np.array([[1, -2.5, 3, 1e3]], np.float32)})["y"][0]
    assert status == 200
    np.testing.assert_allclose(document["outputs"]["y"], expected, rtol=1e-6)


def test_a_quantized_model_takes_real_numbers(serve, predict):
    model = serve("cnn_int8_tflite")
    picture = np.random.default_rng(0).random((8, 8, 1)).astype(np.float32)

    _, document = predict("cnn_int8_tflite", "application/json", json.dumps({"data": picture.tolist()}).encode())

    (scores,) = document["outputs"].values()
    np.testing.assert_allclose(scores, next(iter(model.session.run({"image": picture[None]}).values()))[0], rtol=1e-6)


RAW = "application/octet-stream"


def samples(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype("<f4")


@pytest.mark.parametrize("preprocessing", [None, Preprocessing()])
@pytest.mark.parametrize("name", CNN)
def test_raw_numbers_are_a_sample_as_the_model_takes_it(serve, predict, name, preprocessing):
    model = serve(name, preprocessing, BEST)
    (sample,) = samples(1, 8, 8, 1)

    status, document = predict(name, RAW, sample.tobytes())

    scores = model.session.run({model.inputs[0].name: sample[None]})[model.outputs[0].name][0]
    assert status == 200
    assert [c["index"] for c in document["classes"]] == list(np.argsort(-scores, kind="stable")[:2])
    assert document == predict(name, "application/json", json.dumps({"data": sample.tolist()}).encode())[1]


@pytest.mark.parametrize("name", CNN)
def test_as_many_raw_samples_are_answered_as_there_are_bytes_for(serve, predict, name):
    model = serve(name, None, BEST)
    batch = samples(3, 8, 8, 1)

    status, document = predict(name, RAW, batch.tobytes())

    assert status == 200
    assert document.keys() == {"model_name", "model_version", "answers"}
    assert len(document["answers"]) == 3
    for sample, answer in zip(batch, document["answers"], strict=True):
        alone = model.session.run({model.inputs[0].name: sample[None]})[model.outputs[0].name][0]
        best = np.argsort(-alone, kind="stable")[:2]
        assert [c["index"] for c in answer["classes"]] == list(best)
        np.testing.assert_allclose([c["score"] for c in answer["classes"]], alone[best], rtol=1e-5)


def test_preprocessing_is_done_to_raw_numbers_too(serve, predict):
    first, last = samples(2, 8, 8, 1), samples(2, 1, 8, 8)
    scaled = Preprocessing(operations=(Scale(multiply=0.5), Normalize(mean=0.5, std=2.0)))
    model = serve("cnn_tflite", scaled)
    _, document = predict("cnn_tflite", RAW, first.tobytes())
    fed = np.stack([scaled.apply(sample) for sample in first])
    expected = model.session.run({"image": fed})
    for name, array in expected.items():
        found = [answer["outputs"][name] for answer in document["answers"]]
        np.testing.assert_allclose(found, array, rtol=1e-5)
    # a model that takes [8, 8, 1] from a picture whose channels were [8, 1, 8] before they came first
    moved = Preprocessing(operations=(ChannelsFirst(),))
    serve("cnn_tflite", moved)
    picture = last.reshape(2, 8, 1, 8)
    _, document = predict("cnn_tflite", RAW, picture.tobytes())
    fed = np.stack([moved.apply(sample) for sample in picture])
    for name, array in model.session.run({"image": fed}).items():
        np.testing.assert_allclose([answer["outputs"][name] for answer in document["answers"]], array, rtol=1e-5)


def test_raw_integers_have_the_dtype_that_the_model_stores(serve, predict, repository):
    with repository.lease("dense_tflite") as model:
        spec = model.inputs[0]
    fed = []

    def run(feeds):
        fed.append(feeds["x"])
        return {"y": np.zeros((len(feeds["x"]), 1), np.float32)}

    serve("dense_tflite", run=run, inputs=(replace(spec, name="x", dtype="int32", shape=(None, 4)),),
          outputs=(replace(spec, name="y", shape=(None, 1)),))  # fmt: skip
    sent = np.array([[1, -2, 3, 2**31 - 1]])

    assert predict("dense_tflite", RAW, sent.astype("<i4").tobytes())[0] == 200
    (found,) = fed
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, sent)


@pytest.mark.parametrize(
    ("preprocessing", "body", "status", "said"),
    [
        (None, b"", 400, r"takes a multiple of 256 bytes of FP32 \[\?, 8, 8, 1\], and the body has 0"),
        (None, bytes(255), 400, "takes a multiple of 256 bytes of FP32 .* and the body has 255"),
        (None, bytes(257), 400, "and the body has 257"),
        (None, png(), 400, "takes a multiple of 256 bytes"),
        (None, bytes(256 * 1025), 400, "takes 1,024 of cnn_tflite's samples at once, 256 bytes each, .* has 1,025"),
        (None, np.full(64, np.nan, "<f4").tobytes(), 400, "NaN or infinity"),
        (None, np.full(64, np.inf, "<f4").tobytes(), 400, "NaN or infinity"),
        (Preprocessing(operations=(Scale(multiply=3e38), Scale(multiply=3e38))), np.ones(64, "<f4").tobytes(), 400,
         "NaN or infinity"),
        (Preprocessing(operations=(Resize(height=8, width=8),)), bytes(256), 415,
         r"don't say the shape of what cnn_tflite takes; send JSON {\"data\": \[...\]} here"),
        (Preprocessing(operations=(Scale(), CenterCrop(height=8, width=8))), bytes(256), 415, "don't say the shape"),
        (Preprocessing(operations=(Pad(length=8),)), bytes(256), 415, "don't say the shape"),
        (PICTURES, samples(8, 8, 1).tobytes(), 400, "can't be read as an image"),
        (WORDS, b"\xff\xfe", 400, "no UTF-8"),
    ],
)  # fmt: skip
def test_raw_bytes_that_do_not_fit_are_refused_and_it_is_said_what_would(
    serve, predict, preprocessing, body, status, said
):
    model = serve("cnn_tflite", preprocessing, BEST)

    found, document = predict("cnn_tflite", RAW, body)

    assert found == status
    assert re.search(said, document["error"]), document
    assert len(document["error"]) < 300
    assert model.statistics.snapshot().failure.count == 1


def test_bytes_are_counted_before_there_is_an_array(serve, predict, monkeypatch):
    serve("cnn_tflite", None, BEST)
    body = bytes(255)
    for name in ("frombuffer", "empty", "zeros", "stack"):
        monkeypatch.setattr(np, name, None)

    assert predict("cnn_tflite", RAW, body)[0] == 400


def test_a_model_of_one_at_a_time_takes_one_raw_sample(serve, predict, repository):
    with repository.lease("dense_tflite") as model:
        session = Session(Fixed(model.inputs[0]))
    serve("dense_tflite", run=session.run_raw, inputs=session.inputs, outputs=session.outputs, batches=False)
    raw = np.array([2, 0, 0, 0], "<f4").tobytes()

    assert predict("dense_tflite", RAW, raw)[1]["outputs"]["y"] == [4.0]
    status, document = predict("dense_tflite", RAW, raw * 2)
    assert (status, document["error"]) == (
        400, "input 'x' takes 16 bytes of FP32 [1, 2, 2, 1], and the body has 32"
    )  # fmt: skip
    # a free batch is none that predict could take apart, where an output has none
    serve("dense_tflite", inputs=(replace(session.inputs[0], shape=(None, 2, 2, 1)),))
    status, document = predict("dense_tflite", RAW, raw * 2)
    assert status == 400
    assert "takes 1 of dense_tflite's samples at once, 16 bytes each, and the body has 2" in document["error"]


def test_single_numbers_are_samples_too(serve, predict, repository):
    with repository.lease("dense_tflite") as model:
        spec = model.inputs[0]
    serve("dense_tflite", run=lambda feeds: {"y": feeds["x"] * 2}, inputs=(replace(spec, name="x", shape=(None,)),),
          outputs=(replace(spec, name="y", shape=(None,)),))  # fmt: skip

    _, document = predict("dense_tflite", RAW, np.array([1, 2, 3], "<f4").tobytes())

    assert document["answers"] == [{"outputs": {"y": 2.0 * n}} for n in (1, 2, 3)]
    assert predict("dense_tflite", RAW, np.array([3], "<f4").tobytes())[1]["outputs"] == {"y": 6.0}


def test_outputs_that_do_not_come_apart_by_samples_are_nobodys(serve, predict, repository):
    with repository.lease("dense_tflite") as model:
        spec = model.inputs[0]
    found = {"y": np.zeros((3, 1), np.float32)}
    serve("dense_tflite", run=lambda _: found, outputs=(replace(spec, name="y", shape=(None, 1)),))

    status, document = predict("dense_tflite", RAW, bytes(32))

    assert status == 400
    assert "output 'y' has 3 entries for 2 samples; send one at a time" in document["error"]


@pytest.mark.parametrize(
    ("preprocessing", "kind", "body", "status", "said"),
    [
        (PICTURES, "image/png", b"no image", 400, "can't be read as an image: it is none of JPEG, PNG"),
        (PICTURES, "image/png", b"", 400, "can't be read as an image"),
        (PICTURES, "image/png", png()[:200], 400, "can't be read as an image"),
        (PICTURES, "image/svg+xml", b"<svg/>", 400, "can't be read as an image"),
        (PICTURES, "image/eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "it is none of"),
        (PICTURES, "text/plain", b"a", 415, "takes images, not text; send an image file"),
        (PICTURES, "application/json", b'{"data": [[1, 2]]}', 400, r"array of shape \[1, 2\] is no grey picture"),
        (PICTURES, "application/x-www-form-urlencoded", png(), 415, "is not taken here"),
        (None, "image/png", png(), 415, "nobody said how an image file becomes what cnn_tflite is fed; send numbers"),
        (None, "image/png", png(), 415, "; a bundle made with image files as --data takes them"),
        (None, "text/plain", b"a", 415, "nobody said how text becomes .* or tensors to /v2/models/cnn_tflite/infer"),
        (None, "application/json", b'{"data": [1]}', 400, r"shape \[1, 1\], but the model takes \[\?, 8, 8, 1\]"),
        (None, "application/json", b'{"data": [[1], [2, 3]]}', 400, "nested evenly"),
        (None, "application/json", b'{"data": "abc"}', 400, "numbers only"),
        (None, "application/json", b'{"data": [null]}', 400, "numbers only"),
        (None, "application/json", b'{"data": []}', 400, "numbers only"),
        (None, "application/json", b'{"data": ' + b"[" * 39 + b"1" + b"]" * 39 + b"}", 400, "the model takes|evenly"),
        (None, "application/json", b'{"data": [1e39]}', 400, "NaN or infinity"),
        (WORDS, "image/png", png(), 415, "takes text, not an image file; send text"),
        (WORDS, "application/json", b'{"data": [1]}', 415, "takes text, not numbers"),
        (WORDS, "text/plain", b"good", 400, "but the model takes"),
        (WORDS, "text/plain", b"\xff", 400, "no UTF-8"),
        (
            Preprocessing(operations=(*PICTURES.operations, ChannelsFirst())), "image/png", png(), 400,
            r"has shape \[1, 1, 8, 8\], but the model takes",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_counted(serve, predict, preprocessing, kind, body, status, said):
    model = serve("cnn_tflite", preprocessing, BEST)

    found, document = predict("cnn_tflite", kind, body)

    assert found == status
    assert re.search(said, document["error"]), document
    assert len(document["error"]) < 300
    assert model.statistics.snapshot().failure.count == 1


def bomb(side=20_000):
    """A PNG whose head promises far more pixels than it has bytes."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [5_001, 20_000, 2**31 - 1])
def test_a_picture_that_would_fill_the_memory_is_refused_by_its_head(serve, predict, side):
    serve("cnn_tflite", PICTURES, BEST)

    status, document = predict("cnn_tflite", "image/png", bomb(side))

    assert status == 400
    assert "can't be read as an image" in document["error"]


def test_large_pictures_wait_for_each_other_and_small_ones_do_not(serve, predict, monkeypatch):
    serve("cnn_tflite", PICTURES, BEST)
    held = threading.Lock()
    monkeypatch.setattr(predicting, "_large_picture", held)
    monkeypatch.setattr(predicting, "_LARGE_PIXELS", 1000)

    with held:
        assert predict("cnn_tflite", "image/png", png(20, 20))[0] == 200
        status, document = predict("cnn_tflite", "image/png", png(40, 40), timeout_s=0.01)
    assert (status, document["error"]) == (504, "the deadline passed while other large pictures were decoded")
    assert predict("cnn_tflite", "image/png", png(40, 40))[0] == 200
    assert not held.locked()


def test_a_deadline_that_passed_is_the_models_to_say(serve, predict):
    serve("cnn_tflite", PICTURES, BEST)

    assert predict("cnn_tflite", "image/png", png(), timeout_s=-1)[0] == 504


def test_without_pillow_it_is_said_what_to_install(serve, predict, monkeypatch):
    serve("cnn_tflite", PICTURES, BEST)
    picture = png()
    monkeypatch.setitem(sys.modules, "PIL", None)

    status, document = predict("cnn_tflite", "image/png", picture)

    assert status == 501
    assert "needs the package Pillow" in document["error"]
    assert "tinsmith[images]" in document["error"]


def test_outputs_that_the_postprocessing_is_not_made_for_are_the_servers_fault(serve, predict):
    serve("cnn_tflite", PICTURES, Postprocessing(operations=(Output(name="logits"), Softmax())))

    status, document = predict("cnn_tflite", "image/png", png())

    assert status == 500
    assert "has no output 'logits'" in document["error"]


def test_boxes_are_those_of_the_picture_that_was_sent(serve, predict, repository):
    with repository.lease("dense_tflite") as model:
        session = Session(Fixed(model.inputs[0]))
    fitted = Preprocessing(operations=(Decode(channels="grey"), Resize(height=2, width=2, fit="cover")))
    found = Postprocessing(operations=(Boxes(boxes="boxes", scores="scores", format="xyxy"),))
    serve(
        "dense_tflite",
        fitted,
        found,
        run=session.run_raw,
        inputs=session.inputs,
        outputs=session.outputs,
        batches=False,
    )

    _, document = predict("dense_tflite", "image/png", png(10, 20))

    # the model sees the middle half of the picture's width, and says all of it
    (detection,) = document["detections"]
    assert detection["box"] == {"top": 0.0, "left": 0.25, "bottom": 1.0, "right": 0.75}


def test_an_empty_answer_is_an_answer(serve, predict):
    serve("cnn_tflite", PICTURES, Postprocessing(operations=(Threshold(least=2),)))

    assert predict("cnn_tflite", "image/png", png())[1]["classes"] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda inputs: (*inputs, replace(inputs[0], name="other")), "feeds one input, .* takes image, other"),
        (lambda inputs: (replace(inputs[0], shape=(8, 8, 8, 1)),), "takes 8 at once; send tensors to /v2/models/"),
        (lambda inputs: (replace(inputs[0], shape=()),), "send tensors to"),
    ],
)  # fmt: skip
def test_a_model_that_predict_can_not_feed_says_where_to_go(serve, predict, repository, change, said):
    with repository.lease("cnn_tflite") as model:
        serve("cnn_tflite", PICTURES, BEST, inputs=change(model.inputs))

    status, document = predict("cnn_tflite", "image/png", png())

    assert status == 400
    assert re.search(said, document["error"])


class Fixed:
    """An engine with a fixed batch of one, and outputs with and without a batch axis."""

    name, version, accelerator, refusals = "fixed", "0", "cpu", ()

    def __init__(self, spec):
        self.inputs = (replace(spec, name="x", shape=(1, 2, 2, 1)),)
        self.outputs = tuple(
            replace(spec, name=name, shape=shape)
            for name, shape in (("y", (1, 1)), ("boxes", (None, 4)), ("scores", (None, 1)))
        )

    def run(self, feeds):
        return [feeds[0][0, 0, :1] * 2, np.array([[0, 0, 1, 1]], np.float32), np.ones((1, 1), np.float32)]

    def close(self):
        pass


def test_a_free_first_axis_is_no_batch_where_the_input_has_none(serve, predict, repository):
    with repository.lease("dense_tflite") as model:
        session = Session(Fixed(model.inputs[0]))
    serve("dense_tflite", run=session.run_raw, inputs=session.inputs, outputs=session.outputs, batches=False)

    _, document = predict("dense_tflite", "application/json", b'{"data": [[[2], [0]], [[0], [0]]]}')

    assert document["outputs"] == {"y": [4.0], "boxes": [[0.0, 0.0, 1.0, 1.0]], "scores": [[1.0]]}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("preprocessing", "name", "how"),
    [
        (PICTURES, "part.png", "-F file=@{}"),
        (PICTURES, "part.png", "-F file=@{};type=image/png"),
        (PICTURES, "part.png", "--data-binary @{} -H Content-Type:image/png"),
        (PICTURES, "part.png", "--data-binary @{} -H Content-Type:application/octet-stream"),
        (None, "part.f32", "--data-binary @{} -H Content-Type:application/octet-stream"),
        (None, "part.f32", "-F file=@{}"),
    ],
)
def test_curl_sends_a_file(serve, server, tmp_path, preprocessing, name, how):
    serve("cnn_tflite", preprocessing, BEST)
    path = tmp_path / name
    path.write_bytes(png() if path.suffix == ".png" else samples(8, 8, 1).tobytes())

    said = subprocess.run(
        ["curl", "-sS", "--fail-with-body", *how.format(path).split(), f"http://{server.address}/v2/models/cnn_tflite/predict"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip

    assert [c["label"] for c in json.loads(said)["classes"]]


def test_many_at_once_get_their_own_answers(serve, predict):
    serve("cnn_tflite", PICTURES, BEST)
    pictures = [png(seed=seed) for seed in range(6)]
    alone = [predict("cnn_tflite", "image/png", picture) for picture in pictures]
    together = [[] for _ in pictures]

    def worker(n):
        for _ in range(5):
            together[n].append(predict("cnn_tflite", "image/png", pictures[n]))

    threads = [threading.Thread(target=worker, args=(n,)) for n in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == [[answer] * 5 for answer in alone]


KINDS = (
    "image/png", "application/octet-stream", "text/plain", "application/json", "multipart/form-data; boundary=x", "x",
)  # fmt: skip
PICTURE_FORMATS = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "ico", "tga")


@st.composite
def damaged_pictures(draw):
    stream = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    picture.save(stream, draw(st.sampled_from(PICTURE_FORMATS)))
    content = bytearray(stream.getvalue())
    for at in draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(("cnn_tflite", "dense_tflite")),
    st.sampled_from([None, PICTURES, WORDS]),
    st.sampled_from(KINDS),
    st.one_of(st.binary(max_size=60), damaged_pictures(), st.text(max_size=20).map(str.encode)),
)
def test_whatever_is_sent_is_answered_or_refused(serve, predict, name, preprocessing, kind, body):
    serve(name, preprocessing, BEST)

    assert predict(name, kind, body)[0] in {200, 400, 415}
