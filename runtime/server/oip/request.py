"""An inference request: from a body to arrays, every one of them checked."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tinsmith.runtime.server.documents import shown
from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.oip.tensors import InputTensor, OutputTensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinsmith.runtime.server.documents import Documents
    from tinsmith.runtime.server.serving import Array
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Asked", "InferenceReader", "header_length"]

_REMEMBERED = 64
_LONGEST_REMEMBERED = 2048
_JSON_LENGTH = "inference-header-content-length"
_RAW_HINT = "a body that is one raw tensor comes with the header `Inference-Header-Content-Length: 0`"
# what Triton would do with these is not done here, and must not be left out silently
_UNKNOWN = {
    "sequence_id": "sequences are not served",
    "priority": "requests have no priorities",
    "shared_memory_region": "tensors do not come in shared memory",
    "classification": "the predict call answers with classes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A checked request.

    Attributes:
        feeds: One array an input name, of its stored dtype.
        outputs: What to answer with, in this order, and whether as binary data.
        id: To be given back; None where there is none.
        timeout_us: How long the client will wait, in microseconds; None where it does not say.
    """

    feeds: dict[str, Array]
    outputs: tuple[tuple[OutputTensor, bool], ...]
    id: str | None
    timeout_us: int | None


def header_length(headers: Mapping[str, str]) -> int | None:
    """How many bytes of the body are JSON; 0 for a body that is one raw tensor, None for one that is all JSON.

    Raises:
        Refusal: The header is no such number.
    """
    text = headers.get(_JSON_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Refusal(400, "bytes", f"Inference-Header-Content-Length must be a number of bytes, not {shown(text)}")
    return int(text)


class _Part(NamedTuple):
    """What a client says of one tensor; ``size_bytes`` of binary data from ``offset`` on, or None for JSON."""

    tensor: InputTensor
    datatype: str
    shape: tuple[int, ...]
    data: Any
    offset: int
    size_bytes: int | None

    def array(self, body: bytes, *, booleans: bool) -> Array:
        if self.size_bytes is None:
            return self.tensor.from_numbers(self.data, self.shape, self.datatype, booleans=booleans)
        return self.tensor.from_bytes(body, self.offset, self.shape, self.datatype)


class _Plan(NamedTuple):
    """What the JSON of a request asks for, checked; its arrays are not made yet."""

    parts: tuple[_Part, ...]
    booleans: bool
    outputs: tuple[tuple[OutputTensor, bool], ...]
    id: str | None
    timeout_us: int | None


class InferenceReader:
    """Reads requests for one model.

    A client that sends binary tensors says the same of them each time: the plan of such a head is kept, by the very
    bytes of the head and the length of the body, on which alone it depends.

    Args:
        inputs: What the model takes.
        outputs: What it gives.
        batches: Whether the first axes of all of them are one batch.
        finite: Whether NaN and infinity are refused.
        documents: The JSON library.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        batches: bool,
        finite: bool,
        documents: Documents,
    ) -> None:
        self._inputs = {spec.name: InputTensor(spec, finite=finite) for spec in inputs}
        self._outputs = {spec.name: OutputTensor(spec) for spec in outputs}
        self._json = tuple((output, False) for output in self._outputs.values())
        self._binary = tuple((output, True) for output in self._outputs.values())
        self._one_batch = batches and len(self._inputs) > 1
        self._remembered = functools.lru_cache(maxsize=_REMEMBERED)(self._plan)
        self._documents = documents

    def read(self, body: bytes, json_bytes: int | None) -> Asked:
        """Check a whole request, and make its arrays.

        Args:
            body: Without any Content-Encoding; the arrays may keep it.
            json_bytes: From ``header_length``.

        Raises:
            Refusal: With what was wrong.
        """
        if json_bytes == 0:
            return self._raw(body)
        if json_bytes is not None and json_bytes > len(body):
            raise Refusal(
                400,
                "bytes",
                f"Inference-Header-Content-Length is {json_bytes:,}, but the body has {len(body):,} bytes",
            )
        try:
            plan = self._planned(body, json_bytes)
        except Refusal as refusal:
            if json_bytes is None and body.lstrip()[:1] != b"{":
                refusal.message += f"; {_RAW_HINT}"
            raise
        feeds = {part.tensor.name: part.array(body, booleans=plan.booleans) for part in plan.parts}
        return Asked(feeds=feeds, outputs=plan.outputs, id=plan.id, timeout_us=plan.timeout_us)

    def _planned(self, body: bytes, json_bytes: int | None) -> _Plan:
        if json_bytes is None:
            return self._plan(body, len(body))
        read = self._remembered if json_bytes <= _LONGEST_REMEMBERED else self._plan
        return read(body[:json_bytes], len(body))

    def _plan(self, head: bytes, body_bytes: int) -> _Plan:
        """Read the JSON that a body of so many bytes starts with; all of it is checked before an array is made."""
        document, booleans = self._documents.read(head)
        request = _object(document, "the request")
        parameters = _parameters(request, "the request")
        outputs = self._chosen(request.get("outputs"), parameters)
        parts = self._parts(request.get("inputs"), len(head), body_bytes)
        return _Plan(parts, booleans, outputs, _id(request), _timeout_us(parameters))

    def _raw(self, body: bytes) -> Asked:
        if len(self._inputs) != 1:
            raise Refusal(400, "name", f"a raw body is one tensor, and the model takes {len(self._inputs)}")
        ((name, tensor),) = self._inputs.items()
        shape = tensor.raw_shape(len(body))
        array = tensor.from_bytes(body, 0, shape, tensor.datatype)
        return Asked(feeds={name: array}, outputs=self._chosen(None, {}), id=None, timeout_us=None)

    def _parts(self, inputs: Any, offset: int, body_bytes: int) -> tuple[_Part, ...]:
        parts: dict[str, _Part] = {}
        for item in _list(inputs, "inputs"):
            part = self._part(_object(item, "an input"), offset)
            if part.tensor.name in parts:
                raise Refusal(400, "name", f"input {part.tensor.name!r} comes twice")
            parts[part.tensor.name] = part
            offset += part.size_bytes or 0
        self._check_whole(parts)
        if offset != body_bytes:
            raise Refusal(
                400, "bytes", f"the body has {body_bytes:,} bytes, but its JSON and its inputs account for {offset:,}"
            )
        return tuple(parts.values())

    def _part(self, entry: dict[str, Any], offset: int) -> _Part:
        name = entry.get("name")
        tensor = self._inputs.get(name) if type(name) is str else None
        if tensor is None:
            raise Refusal(400, "name", f"there is no input {shown(name)}; the model takes {_names(self._inputs)}")
        datatype = tensor.check_datatype(entry.get("datatype"))
        shape = tensor.check_shape(entry.get("shape"))
        size = _parameters(entry, f"input {name!r}").get("binary_data_size")
        wanted = tensor.size_bytes(shape, datatype)
        if size is not None and (type(size) is not int or size != wanted):
            raise Refusal(
                400,
                "bytes",
                f"input {name!r}: {datatype} of this shape takes a binary_data_size of {wanted:,}, not {shown(size)}",
            )
        return _Part(tensor, datatype, shape, entry.get("data"), offset, size)

    def _check_whole(self, parts: Mapping[str, _Part]) -> None:
        if missing := [name for name in self._inputs if name not in parts]:
            raise Refusal(400, "name", f"input {missing[0]!r} is missing")
        if self._one_batch and len({part.shape[0] for part in parts.values()}) > 1:
            raise Refusal(400, "shape", "the inputs differ in their first axis, which is the batch")

    def _chosen(self, asked: Any, parameters: Mapping[str, Any]) -> tuple[tuple[OutputTensor, bool], ...]:
        binary = _flag(parameters, "binary_data_output", default=False)
        if asked is None or asked == []:
            chosen = self._binary if binary else self._json
        else:
            chosen = tuple(self._output(item, binary=binary) for item in _list(asked, "outputs"))
            if len({output.name for output, _ in chosen}) < len(chosen):
                raise Refusal(400, "output", "an output is asked for twice")
        for output, as_binary in chosen:
            if not as_binary:
                output.check_json()
        return chosen

    def _output(self, item: Any, *, binary: bool) -> tuple[OutputTensor, bool]:
        entry = _object(item, "an output")
        name = entry.get("name")
        output = self._outputs.get(name) if type(name) is str else None
        if output is None:
            raise Refusal(400, "output", f"there is no output {shown(name)}; the model gives {_names(self._outputs)}")
        return output, _flag(_parameters(entry, f"output {name!r}"), "binary_data", default=binary)


def _object(value: Any, what: str) -> dict[str, Any]:
    if type(value) is dict:
        return value
    raise Refusal(400, "json", f"{what} must be a JSON object, not {shown(value)}")


def _list(value: Any, what: str) -> list[Any]:
    if type(value) is list:
        return value
    raise Refusal(400, "json", f"{what!r} must be a list, not {shown(value)}")


def _parameters(entry: Mapping[str, Any], what: str) -> dict[str, Any]:
    value = entry.get("parameters")
    if value is None:
        return {}
    parameters = _object(value, f"what stands as parameters of {what}")
    for name in _UNKNOWN.keys() & parameters.keys():
        if parameters[name]:
            raise Refusal(400, "parameter", f"{what}: {name} is not taken, for {_UNKNOWN[name]}")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if type(value) is bool:
        return value
    raise Refusal(400, "parameter", f"{name} must be true or false, not {shown(value)}")


def _id(request: Mapping[str, Any]) -> str | None:
    value = request.get("id")
    if value is None or type(value) is str:
        return value
    raise Refusal(400, "parameter", f"the id must be a string, not {shown(value)}")


def _timeout_us(parameters: Mapping[str, Any]) -> int | None:
    value = parameters.get("timeout")
    if value is None or value == 0:
        return None
    if type(value) is int and value > 0:
        return value
    raise Refusal(400, "parameter", f"timeout must be a number of microseconds, not {shown(value)}")


def _names(tensors: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, tensors))
