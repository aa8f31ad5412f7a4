"""Refusals as answers, and what a transport answers by itself when a handler is defective."""

from __future__ import annotations

import json

from tinsmith.runtime.server.messages import Refusal, Response

__all__ = ["busy", "defective", "refused"]

_RETRY_S = 1
_RETRIED = {429, 503}


def refused(refusal: Refusal) -> Response:
    """A refusal as the Open Inference Protocol words errors: ``{"error": message}``."""
    retry_s = refusal.retry_after_s or (_RETRY_S if refusal.status in _RETRIED else None)
    retry = () if retry_s is None else (("Retry-After", str(retry_s)),)
    return Response(
        status=refusal.status,
        body=json.dumps({"error": refusal.message}).encode(),
        headers=(*refusal.headers, *retry),
    )


def busy(what: str) -> Response:
    """The server itself is full, whatever was asked."""
    return refused(Refusal(503, "busy", what, retry_after_s=1))


def defective() -> Response:
    """Call while handling what a handler raised; its traceback goes to stderr, where a service's log is."""
    import traceback

    traceback.print_exc()
    return refused(Refusal(500, "defect", "a defect in the server; its log holds the traceback"))
