"""The model repository extension: which models there are, load and unload."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tinsmith.runtime.errors import TinsmithError
from tinsmith.runtime.server.coding import check_coding, unfold
from tinsmith.runtime.server.documents import shown
from tinsmith.runtime.server.messages import Refusal

if TYPE_CHECKING:
    from tinsmith.runtime.server.documents import Documents
    from tinsmith.runtime.server.routes import Call
    from tinsmith.runtime.server.serving import Repository

__all__ = ["RepositoryCalls"]

_LARGEST_BYTES = 1 << 16


class RepositoryCalls:
    """Answers the calls of the extension."""

    def __init__(self, repository: Repository, *, documents: Documents) -> None:
        self._repository = repository
        self._documents = documents

    def index(self, call: Call) -> list[dict[str, str]]:
        """Every model, or those that are ready where the body says ``{"ready": true}``."""
        ready = self._asked(call).get("ready", False)
        if type(ready) is not bool:
            raise Refusal(400, "parameter", f"ready must be true or false, not {shown(ready)}")
        return [asdict(state) for state in self._repository.index() if not ready or state.state == "READY"]

    def load(self, call: Call) -> None:
        """Load or swap a model; raises ``Refusal`` where it is refused, and whatever served before goes on."""
        parameters = self._asked(call).get("parameters") or {}
        if parameters:
            raise Refusal(
                400, "parameter", "load takes no parameters: what is served is what the bundle or the artifact says"
            )
        try:
            self._repository.load(call.model, by=call.head.peer)
        except TinsmithError as error:
            hint = f"; {error.hint}" if error.hint else ""
            raise Refusal(400, "load", f"{error.message}{hint}") from error

    def unload(self, call: Call) -> None:
        """Stop serving a model; no model has dependents, so that ``unload_dependents`` changes nothing."""
        self._asked(call)
        self._repository.unload(call.model, by=call.head.peer)

    def _asked(self, call: Call) -> dict[str, Any]:
        coding = check_coding(call.head.headers)
        body = unfold(call.body, coding, limit_bytes=_LARGEST_BYTES) if call.body else b""
        if not body.strip():
            return {}
        value, _ = self._documents.read(body)
        if type(value) is not dict:
            raise Refusal(400, "json", f"the request must be a JSON object, not {shown(value)}")
        return value
