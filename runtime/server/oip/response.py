"""The answer to an inference request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinsmith.runtime.server.messages import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinsmith.runtime.server.documents import Documents
    from tinsmith.runtime.server.oip.request import Asked
    from tinsmith.runtime.server.serving import Array, Servable

__all__ = ["write_answer"]


def write_answer(servable: Servable, asked: Asked, outputs: Mapping[str, Array], documents: Documents) -> Response:
    """JSON, with the tensors that were asked for as binary data behind it.

    Args:
        servable: Whose name and version are told.
        asked: Which outputs, in which form.
        outputs: One array an output name, of its stored dtype.
        documents: The JSON library.

    Raises:
        Refusal: An output can't be said in JSON.
    """
    told: list[dict[str, Any]] = []
    parts: list[memoryview] = []
    for tensor, binary in asked.outputs:
        array = outputs[tensor.name]
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": array.shape}
        if binary:
            parts.append(tensor.to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = tensor.to_numbers(array)
        told.append(entry)
    document: dict[str, Any] = {} if asked.id is None else {"id": asked.id}
    document |= {"model_name": servable.name, "model_version": servable.version, "outputs": told}
    text = documents.text(document)
    if not parts:
        return Response(status=200, body=text)
    return Response(
        status=200,
        body=b"".join((text, *parts)),
        content_type="application/octet-stream",
        headers=(("Inference-Header-Content-Length", str(len(text))),),
    )
