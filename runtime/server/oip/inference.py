"""The infer call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tinsmith.runtime.server.coding import check_coding, unfold
from tinsmith.runtime.server.counting import Counted
from tinsmith.runtime.server.oip.request import InferenceReader, header_length
from tinsmith.runtime.server.oip.response import write_answer

if TYPE_CHECKING:
    from tinsmith.runtime.server.documents import Documents
    from tinsmith.runtime.server.messages import Response
    from tinsmith.runtime.server.routes import Call
    from tinsmith.runtime.server.serving import Limits, Repository
    from tinsmith.runtime.tensors import TensorSpec

__all__ = ["Inference"]


class Inference:
    """Answers infer calls; safe to call from many threads at once."""

    def __init__(self, repository: Repository, *, limits: Limits, documents: Documents) -> None:
        self._repository = repository
        self._limits = limits
        self._documents = documents
        # By name, with the specs that the reader was made from: a swapped model is not kept alive by its reader.
        self._readers: dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], InferenceReader]] = {}

    def __call__(self, call: Call) -> Response:
        """Answer one; raises ``Refusal``."""
        with (
            self._repository.lease(call.model, call.version) as model,
            Counted(model, started_ns=call.started_ns) as counted,
        ):
            return self._answer(counted, call)

    def _answer(self, model: Counted, call: Call) -> Response:
        headers = call.head.headers
        body = unfold(call.body, check_coding(headers), limit_bytes=self._limits.max_body_bytes)
        asked = self._reader(model).read(body, header_length(headers))
        deadline_s = call.deadline_s
        if asked.timeout_us is not None:
            deadline_s = min(deadline_s, time.monotonic() + asked.timeout_us / 1e6)
        answered = model.infer(asked.feeds, deadline_s=deadline_s)
        return write_answer(model.servable, asked, answered.outputs, self._documents)

    def _reader(self, model: Counted) -> InferenceReader:
        name = model.servable.name
        known = self._readers.get(name)
        if known is not None and known[0] is model.inputs and known[1] is model.outputs:
            return known[2]
        reader = InferenceReader(
            model.inputs,
            model.outputs,
            batches=model.batches,
            finite=self._limits.finite,
            documents=self._documents,
        )
        self._readers[name] = (model.inputs, model.outputs, reader)
        return reader
