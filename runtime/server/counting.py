"""One request to one model, with its times and its end counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tinsmith.runtime.errors import ModelError
from tinsmith.runtime.server.messages import Refusal

if TYPE_CHECKING:
    from types import TracebackType

    from tinsmith.runtime.server.serving import Answered, Feeds, ServedModel

__all__ = ["Counted"]


class Counted:
    """A served model for the length of one request; to be used as a context.

    What happens before ``infer`` counts as making its input, what happens afterwards as making its output. A request
    that ends with an exception counts as failed.
    """

    def __init__(self, model: ServedModel, *, started_ns: int) -> None:
        self.servable = model.servable
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.batches = model.batches
        self.engine = model.engine
        self.statistics = model.statistics
        self._model = model
        self._started_ns = started_ns
        self._handed_ns = self._given_ns = started_ns
        self._answered: Answered | None = None
        self._samples = 1

    def infer(self, feeds: Feeds, *, deadline_s: float) -> Answered:
        """As ``ServedModel.infer``, once a request.

        Raises:
            Refusal: As there; and the engine failed: 400 where numbers or lengths that the client chose may be why,
                which no check can foresee, and 500 where they can't be.
        """
        self._handed_ns = time.perf_counter_ns()
        try:
            self._answered = answered = self._model.infer(feeds, deadline_s=deadline_s)
        except ModelError as error:
            status = 400 if self._client_may_be_why() else 500
            raise Refusal(status, "engine", error.message) from error
        self._given_ns = time.perf_counter_ns()
        if self.batches:
            self._samples = next(iter(feeds.values())).shape[0]
        return answered

    def check_room(self) -> None:
        """As ``ServedModel.check_room``."""
        self._model.check_room()

    def _client_may_be_why(self) -> bool:
        return any(
            None in spec.shape[1:] or (spec.quantization is None and "int" in spec.dtype) for spec in self.inputs
        )

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        ended_ns = time.perf_counter_ns()
        total_ns, now_ms = ended_ns - self._started_ns, time.time_ns() // 1_000_000
        if error is not None:
            reason = error.reason if isinstance(error, Refusal) else "defect"
            self.statistics.failed(reason, total_ns=total_ns, now_ms=now_ms)
        elif self._answered is not None:
            self.statistics.succeeded(
                total_ns=total_ns,
                input_ns=self._handed_ns - self._started_ns,
                queue_ns=self._answered.queue_ns,
                infer_ns=self._answered.infer_ns,
                output_ns=ended_ns - self._given_ns,
                now_ms=now_ms,
                samples=self._samples,
                batch=self._answered.batch,
            )
