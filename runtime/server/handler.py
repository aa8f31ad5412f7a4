"""The handler: every call that the server answers, whatever transport brought it."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.server.coding import check_coding, compress, unfold
from tinsmith.runtime.server.counting import Counted
from tinsmith.runtime.server.documents import open_documents, shown
from tinsmith.runtime.server.messages import Refusal, Response
from tinsmith.runtime.server.oip.counts import model_statistics
from tinsmith.runtime.server.oip.description import model_configuration, model_metadata, server_metadata
from tinsmith.runtime.server.oip.repository import RepositoryCalls
from tinsmith.runtime.server.refusing import refused
from tinsmith.runtime.server.routes import Call, Route, Routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinsmith.runtime.server.documents import Documents
    from tinsmith.runtime.server.messages import Head, Request
    from tinsmith.runtime.server.oip.inference import Inference
    from tinsmith.runtime.server.routes import Found
    from tinsmith.runtime.server.serving import Limits, Repository, ServedModel

__all__ = ["Pages", "ServerHandler"]

logger = logging.getLogger(__name__)

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A child process opens the model, runs its golden inputs and perhaps a batch, each in a minute at most.
_LOADING_S = 240.0
_MODEL_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """What is served beside the protocol.

    Attributes:
        status: Gives the page at ``/``, to anybody: a browser can't send a token with its first request. None for none.
        metrics: Gives the text of ``/metrics``, in Prometheus' format. None for none.
        monitor: Gives the document of ``/v2/models/M/monitor``. None for none.
    """

    status: Callable[[], Response] | None = None
    metrics: Callable[[], str] | None = None
    monitor: Callable[[ServedModel], dict[str, Any]] | None = None


class ServerHandler:
    """Answers requests; see ``tinsmith.runtime.server.messages.Handler``.

    Args:
        repository: The models.
        limits: Of the server.
        token: Tells in constant time whether a bearer token is right; None where none is needed.
        pages: What is served beside the protocol.
        documents: The JSON library; None takes the fastest that is installed.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        limits: Limits,
        token: Callable[[str], bool] | None = None,
        pages: Pages | None = None,
        documents: Documents | None = None,
    ) -> None:
        self._repository = repository
        self._limits = limits
        self._token = token
        self._documents = documents or open_documents()
        self._inference: Inference | None = None
        self._pages = pages or Pages()
        self._routes = Routes(
            (*_page_routes(self._pages), *self._server_routes(), *self._repository_routes(), *self._model_routes())
        )

    def refuse(self, head: Head) -> Response | None:
        """As ``Handler.refuse``."""
        try:
            found = self._admitted(head)
            if found.route.runs:
                self._check_model(found, head)
            else:
                _check_length(head.body_bytes, found.route.max_body_bytes)
        except Refusal as refusal:
            return refused(refusal)
        except Exception as defect:  # noqa: BLE001 - here a defect becomes an answer
            return self._defective(head, defect)
        return None

    def extra_s(self, head: Head) -> float:
        """As ``Handler.extra_s``."""
        try:
            return self._routes.find(head.method, head.path).route.extra_s
        except Refusal:
            return 0.0

    def answer(self, request: Request) -> Response:
        """As ``Handler.answer``."""
        started_ns = time.perf_counter_ns()
        head = request.head
        try:
            found = self._admitted(head)
            _check_length(len(request.body), found.route.max_body_bytes)
            call = Call(
                head=head,
                body=request.body,
                deadline_s=request.deadline_s,
                model=found.model,
                version=found.version,
                started_ns=started_ns,
            )
            return compress(found.route.endpoint(call), head.headers.get("accept-encoding", ""))
        except Refusal as refusal:
            return refused(refusal)
        except Exception as defect:  # noqa: BLE001 - here a defect becomes an answer
            return self._defective(head, defect)

    def _admitted(self, head: Head) -> Found:
        """The route, to who may take it; without a token nobody learns which paths there are."""
        try:
            found = self._routes.find(head.method, head.path)
        except Refusal:
            self._check_token(head)
            raise
        if not found.route.open:
            self._check_token(head)
        if head.method == "POST":
            _check_origin(head)
        return found

    def _check_token(self, head: Head) -> None:
        if self._token is None:
            return
        scheme, _, token = head.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._token(token.strip()):
            return
        raise Refusal(
            401,
            "token",
            "this server wants a token: send the header `Authorization: Bearer TOKEN`",
            headers=(("WWW-Authenticate", "Bearer"),),
        )

    def _check_model(self, found: Found, head: Head) -> None:
        """Whether a model can be run on such a body; a refusal counts as the model's."""
        with self._repository.lease(found.model, found.version) as model:
            try:
                check_coding(head.headers)
                _check_length(head.body_bytes, found.route.max_body_bytes)
                model.check_room()
            except Refusal as refusal:
                model.statistics.failed(refusal.reason, total_ns=0, now_ms=time.time_ns() // 1_000_000)
                raise

    def _defective(self, head: Head, defect: Exception) -> Response:
        """One line in the log, and nothing of what is inside to the client."""
        frame = traceback.extract_tb(defect.__traceback__)[-1]
        logger.error(
            "defect: %s %s: %s: %s at %s:%s",
            head.method,
            shown(head.path),
            type(defect).__name__,
            shown(str(defect)),
            frame.filename,
            frame.lineno,
        )
        logger.debug("its traceback", exc_info=defect)
        return refused(Refusal(500, "defect", "a defect in the server; its log says where"))

    def _json(self, document: Any) -> Response:
        return Response(status=200, body=self._documents.text(document))

    def _server_routes(self) -> list[Route]:
        return [
            Route(method="GET", path="/v2", endpoint=lambda _: self._json(server_metadata())),
            Route(method="GET", path="/v2/health/live", endpoint=lambda _: self._json({"live": True}), open=True),
            Route(method="GET", path="/v2/health/ready", endpoint=self._server_ready, open=True),
            Route(method="GET", path="/v2/models/stats", endpoint=self._all_statistics),
        ]

    def _repository_routes(self) -> list[Route]:
        calls = RepositoryCalls(self._repository, documents=self._documents)
        base = "/v2/repository/models/{model}"
        return [
            Route(method="POST", path="/v2/repository/index", endpoint=lambda call: self._json(calls.index(call))),
            *(
                Route(
                    method="POST",
                    path=f"{base}/{name}",
                    endpoint=functools.partial(self._done, change),
                    extra_s=_LOADING_S,
                )
                for name, change in (("load", calls.load), ("unload", calls.unload))
            ),
        ]

    def _model_routes(self) -> list[Route]:
        asked: tuple[tuple[str, Callable[[ServedModel], dict[str, Any]]], ...] = (
            ("", model_metadata),
            ("/ready", lambda model: {"name": model.servable.name, "ready": True}),
            ("/config", lambda model: model_configuration(model, self._limits)),
            ("/stats", lambda model: {"model_stats": [model_statistics(model)]}),
            *((("/monitor", self._pages.monitor),) if self._pages.monitor else ()),
        )
        run = (("/infer", self._infer), ("/predict", self._predict))
        limit = self._limits.max_body_bytes
        return [
            route
            for base in _MODEL_PATHS
            for route in (
                *(
                    Route(method="POST", path=base + end, endpoint=endpoint, max_body_bytes=limit, runs=True)
                    for end, endpoint in run
                ),
                *(Route(method="GET", path=base + end, endpoint=self._of_model(tell)) for end, tell in asked),
            )
        ]

    def _of_model(self, tell: Callable[[ServedModel], dict[str, Any]]) -> Callable[[Call], Response]:
        def endpoint(call: Call) -> Response:
            with self._repository.lease(call.model, call.version) as model:
                return self._json(tell(model))

        return endpoint

    def _server_ready(self, _: Call) -> Response:
        if self._repository.ready:
            return self._json({"live": True, "ready": True})
        waiting = [state.name for state in self._repository.index() if state.state != "READY"]
        raise Refusal(503, "not-ready", f"not ready: {', '.join(waiting) or 'no model serves'}")

    def _all_statistics(self, _: Call) -> Response:
        told = []
        for state in self._repository.index():
            # what does not serve has none
            with contextlib.suppress(Refusal), self._repository.lease(state.name) as model:
                told.append(model_statistics(model))
        return self._json({"model_stats": told})

    @staticmethod
    def _done(change: Callable[[Call], None], call: Call) -> Response:
        change(call)
        return Response(status=200)

    def _infer(self, call: Call) -> Response:
        if self._inference is None:  # numpy comes with the first call, and not with the waiting server
            from tinsmith.runtime.server.oip.inference import Inference

            self._inference = Inference(self._repository, limits=self._limits, documents=self._documents)
        return self._inference(call)

    def _predict(self, call: Call) -> Response:
        from tinsmith.runtime.server.predict import predict

        with (
            self._repository.lease(call.model, call.version) as model,
            Counted(model, started_ns=call.started_ns) as counted,
        ):
            coding = check_coding(call.head.headers)
            body = unfold(call.body, coding, limit_bytes=self._limits.max_body_bytes)
            return predict(counted, call.head, body, call.deadline_s)


def _page_routes(pages: Pages) -> list[Route]:
    routes = []
    status, metrics = pages.status, pages.metrics
    if status is not None:
        routes.append(Route(method="GET", path="/", endpoint=lambda _: status(), open=True))
    if metrics is not None:
        routes.append(
            Route(
                method="GET",
                path="/metrics",
                endpoint=lambda _: Response(status=200, body=metrics().encode(), content_type=_METRICS_TYPE),
            )
        )
    return routes


def _check_length(body_bytes: int | None, limit_bytes: int) -> None:
    """A body whose length is not said in advance is held to the limit while it is read, and again afterwards."""
    if body_bytes is not None and body_bytes > limit_bytes:
        raise Refusal(413, "too-large", f"the body has {body_bytes:,} bytes, and this path takes {limit_bytes:,}")


def _check_origin(head: Head) -> None:
    """A page of another site must not make its visitor's browser load, unload or run models here."""
    origin, site = head.headers.get("origin"), head.headers.get("sec-fetch-site")
    if site is not None:  # a browser's own word, and right behind a proxy too
        foreign = site not in {"same-origin", "none"}
    else:
        foreign = origin is not None and origin.partition("://")[2].lower() != head.headers.get("host", "").lower()
    if foreign:
        raise Refusal(403, "origin", f"requests from pages of other sites are not served: {shown(origin)}")
