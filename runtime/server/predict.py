"""The predict call: an image file, text or numbers in, an answer with labels out."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.box import Box
from tinsmith.runtime.errors import MissingDependencyError, TinsmithError
from tinsmith.runtime.server.content import File, Numbers, RawNumbers, Text, read_content
from tinsmith.runtime.server.documents import open_documents
from tinsmith.runtime.server.messages import Refusal, Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tinsmith.runtime.preprocessing import Preprocessing
    from tinsmith.runtime.server.content import Content
    from tinsmith.runtime.server.messages import Head
    from tinsmith.runtime.server.serving import ServedModel
    from tinsmith.runtime.tensors import TensorSpec

    Array = NDArray[np.generic]

__all__ = ["predict"]

# Decoding takes ten bytes a pixel for a while: 250 MB for the largest, so large ones are decoded one at a time.
_MOST_PIXELS = 25_000_000
_LARGE_PIXELS = 4_000_000
_large_picture = threading.Lock()
# Each gets an answer of its own, which costs far more than its bytes: a body of 64 MB may hold millions.
_MOST_SAMPLES = 1024
_WORDS = {
    "file": "an image file (Content-Type image/png, image/jpeg, ...)",
    "text": "text (Content-Type text/plain)",
    "numbers": 'numbers (JSON {"data": [...]}, or raw as application/octet-stream)',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """What the model is fed, without a batch axis, and which part of the picture that was sent it shows."""

    array: Array
    part: Box


def predict(
    model: ServedModel, head: Head, body: bytes, deadline_s: float, *, most_pixels: int = _MOST_PIXELS
) -> Response:
    """Answer one request for one sample, or for several that are raw numbers.

    Args:
        model: With one input, and the batch on its first axis.
        head: Its Content-Type says what the body is: ``image/*``, ``text/plain``, JSON with ``text`` or ``data``, a
            form with one field that holds something, or ``application/octet-stream`` for whatever the model takes: an
            image file, text, or raw numbers in little-endian order, as many samples as there are bytes for. Numbers
            under ``data`` are real ones, also where the model stores quantized integers, and so are raw ones, then as
            float32; else those have the dtype that the model stores.
        body: Without its Content-Encoding.
        deadline_s: On ``time.monotonic``'s clock.
        most_pixels: Of an image.

    Returns:
        ``model_name``, ``model_version``, and ``classes``, ``detections``, ``scores`` or ``outputs``, as the model's
        postprocessing gives them; for several samples ``answers``, a list of these in the order of the samples. Boxes
        are in fractions of the picture that was sent.

    Raises:
        Refusal: 400 for a body that is not what it says or does not fit the model, 415 for a kind of content that the
            model does not take, 500 for outputs that its postprocessing is not made for, 501 where Pillow is not
            installed, 504 for a deadline that passed while other pictures were decoded; and what ``infer`` refuses.
    """
    documents = open_documents()
    spec = _only_input(model)
    wanted = model.servable.preprocessing.takes if model.servable.preprocessing else "numbers"
    content = read_content(head.headers.get("content-type", ""), body, wanted=wanted, documents=documents)
    samples = _prepared(model, spec, content, wanted, deadline_s, most_pixels)
    answered = model.infer({spec.name: _fed(samples, spec)}, deadline_s=deadline_s)
    document = _answer(model, spec, answered.outputs, samples)
    return Response(status=200, body=documents.text(document))


def _only_input(model: ServedModel) -> TensorSpec:
    where = f"send tensors to /v2/models/{model.servable.name}/infer"
    if len(model.inputs) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise Refusal(400, "inputs", f"predict feeds one input, and {model.servable.name} takes {names}; {where}")
    (spec,) = model.inputs
    if not spec.shape or spec.batch not in {None, 1}:
        raise Refusal(
            400, "inputs", f"predict feeds one sample, and {model.servable.name} takes {spec.batch} at once; {where}"
        )
    return spec


def _prepared(
    model: ServedModel, spec: TensorSpec, content: Content, wanted: str, deadline_s: float, most_pixels: int
) -> tuple[_Sample, ...]:
    """The samples after preprocessing: one, but for raw numbers."""
    from tinsmith.runtime.preprocessing import Preprocessing

    steps = model.servable.preprocessing or Preprocessing()
    try:
        if isinstance(content, File) and wanted == "file":
            with _room_for(content.body, deadline_s, most_pixels) as size:
                return (_Sample(array=steps.apply(content.body), part=steps.framing(*size)),)
        if isinstance(content, Text) and wanted == "text":
            return (_Sample(array=steps.apply(content.text), part=Box()),)
        if isinstance(content, RawNumbers):
            raw = _raw(model, spec, steps, content.body)
            # the dots keep a single number an array
            return tuple(_Sample(array=steps.apply(raw[at, ...]), part=Box()) for at in range(len(raw)))
        if isinstance(content, Numbers) and wanted != "text":
            array = _array(content.data)
            part = steps.framing(*array.shape[:2]) if wanted == "file" and array.ndim == 3 else Box()
            return (_Sample(array=steps.apply(array), part=part),)
    except MissingDependencyError as error:
        raise Refusal(501, "dependency", f"{error.message}; {error.hint}") from error
    except TinsmithError as error:
        raise Refusal(400, "content", error.message) from error
    raise _unwanted(model, content, wanted)


def _unwanted(model: ServedModel, content: Content, wanted: str) -> Refusal:
    sent = "an image file" if isinstance(content, File) else "text" if isinstance(content, Text) else "numbers"
    name = model.servable.name
    if model.servable.preprocessing is None:
        why = f"nobody said how {sent} becomes what {name} is fed"
    else:
        why = f"{name} takes {wanted if wanted != 'file' else 'images'}, not {sent}"
    said = f"{why}; send {_WORDS[wanted]} here, or tensors to /v2/models/{name}/infer"
    if isinstance(content, File) and wanted == "numbers":
        said += "; a bundle made with image files as --data takes them"
    return Refusal(415, "content", said)


@contextlib.contextmanager
def _room_for(body: bytes, deadline_s: float, most_pixels: int) -> Iterator[tuple[int, int]]:
    """Wait until there is room to decode a picture, and tell its height and width; small ones need not wait."""
    from tinsmith.runtime.preprocessing import picture_size

    height, width = picture_size(body, most_pixels=most_pixels)
    if height * width <= _LARGE_PIXELS:
        yield height, width
        return
    if not _large_picture.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
        raise Refusal(504, "deadline", "the deadline passed while other large pictures were decoded")
    try:
        yield height, width
    finally:
        _large_picture.release()


def _raw(model: ServedModel, spec: TensorSpec, steps: Preprocessing, body: bytes) -> Array:
    """Raw numbers as samples on axis 0: counted before there is an array, which copies none of them."""
    from tinsmith.runtime.server.oip.tensors import InputTensor

    name = model.servable.name
    before = steps.shape_before(spec.shape[1:])
    if before is None:
        why = f"raw bytes don't say the shape of what {name} takes"
        raise Refusal(415, "content", f'{why}; send JSON {{"data": [...]}} here, or tensors to /v2/models/{name}/infer')
    # without its grid: what is sent are real numbers, whatever the model stores
    dtype = spec.dtype if spec.quantization is None else "float32"
    tensor = InputTensor(replace(spec, shape=(spec.batch, *before), dtype=dtype, quantization=None), finite=True)
    shape = tensor.raw_shape(len(body))
    most = _MOST_SAMPLES if model.batches else 1
    if shape[0] > most:
        raise Refusal(
            400,
            "batch",
            f"predict takes {most:,} of {name}'s samples at once, {len(body) // shape[0]:,} bytes each, and the body "
            f"has {shape[0]:,}; send tensors to /v2/models/{name}/infer",
        )
    return tensor.from_bytes(body, 0, shape, tensor.datatype)


def _array(data: Any) -> Array:
    """Numbers of a JSON document: whole ones from 0 to 255 as pixels are stored, others as int32 or float32."""
    import numpy as np

    try:
        array = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise Refusal(400, "content", "data must be a number, or lists that are nested evenly") from error
    if not array.size or array.dtype.kind not in "biuf":
        raise Refusal(400, "content", "data must hold numbers only, and at least one")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    fitting = (kind for kind in ("uint8", "int32") if _fits(array, np.iinfo(kind)))
    return array if array.dtype.kind == "b" else array.astype(next(fitting, array.dtype.name))


def _fits(array: Array, limits: np.iinfo[Any]) -> bool:
    return int(array.min()) >= limits.min and int(array.max()) <= limits.max


def _fed(samples: Sequence[_Sample], spec: TensorSpec) -> Array:
    """A batch in the stored dtype."""
    import numpy as np

    from tinsmith.runtime.session import to_stored

    try:
        batch: Array = np.stack([sample.array for sample in samples])
        if spec.real and batch.dtype.kind in "biuf":
            batch = batch.astype(np.float32)
        if batch.dtype.kind == "f" and not np.isfinite(batch).all():
            raise Refusal(400, "not-finite", f"what input {spec.name!r} would be fed holds NaN or infinity")
        return to_stored(batch, spec)
    except TinsmithError as error:
        raise Refusal(400, "content", f"{error.message} (the first axis is the batch)") from error


def _answer(
    model: ServedModel, fed: TensorSpec, outputs: Mapping[str, Array], samples: Sequence[_Sample]
) -> dict[str, Any]:
    from tinsmith.runtime.session import to_real

    real = {spec.name: to_real(outputs[spec.name], spec) for spec in model.outputs}
    if len(samples) == 1:
        alone = {spec.name: _first(real[spec.name], spec, fed) for spec in model.outputs}
        said = _said(model, alone, samples[0].part)
    else:
        for name, array in real.items():
            if len(array) != len(samples):
                why = f"output {name!r} has {len(array):,} entries for {len(samples):,} samples; send one at a time"
                raise Refusal(400, "batch", f"nobody can tell what is whose: {why}")
        each = [{name: array[at, ...] for name, array in real.items()} for at in range(len(samples))]
        said = {"answers": [_said(model, one, sample.part) for one, sample in zip(each, samples, strict=True)]}
    return {"model_name": model.servable.name, "model_version": model.servable.version, **said}


def _said(model: ServedModel, outputs: Mapping[str, Array], part: Box) -> dict[str, Any]:
    """What one sample's outputs mean."""
    from tinsmith.runtime.postprocessing import Detections, Postprocessing

    steps = model.servable.postprocessing or Postprocessing()
    try:
        answer = steps.apply(outputs)
        return (answer.inside(part) if isinstance(answer, Detections) else answer).to_json()
    except TinsmithError as error:
        raise Refusal(500, "postprocessing", f"{model.servable.name} gave no answer: {error.message}") from error


def _first(array: Array, spec: TensorSpec, fed: TensorSpec) -> Array:
    """Without the batch axis, where the output has one: a free first axis is none if the input's is fixed."""
    batched = spec.shape[:1] == (1,) or (spec.shape[:1] == (None,) and fed.batch is None)
    return array[0] if batched and array.ndim and array.shape[0] == 1 else array
