"""Programs on a device that a host asks: one JSON request a line on stdin, one JSON answer a line on stdout.

Several requests in a row cost one start of Python; the first that fails is the last that is answered. An error is
``{"schema": 1, "error": {"code", "exit_code", "message", "hint", "stage"}}``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tinsmith.runtime.errors import TinsmithError, UsageError
from tinsmith.runtime.fields import Fields, fields_of
from tinsmith.runtime.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    Answering = Callable[[Path, bytes, Stages], dict[str, Any]]

__all__ = ["answer_lines", "read_request_of"]

_MOST_REQUEST_BYTES = 1 << 16
_DEFECT = 70


class _Read(Protocol):
    @classmethod
    def read(cls, fields: Fields) -> Self: ...


_R = TypeVar("_R", bound=_Read)


def answer_lines(answer: Answering, *, program: str) -> int:
    """Answer the requests on stdin in their order, up to one that fails.

    Args:
        answer: From the base folder, a request and its stages to the document of its answer.
        program: The module, for messages.

    Returns:
        The exit code of the error, or 0.
    """
    # what engines and libraries print must not get between the host and the answer
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with out:
        for line in sys.stdin.buffer.read(_MOST_REQUEST_BYTES).splitlines() or [b""]:
            code, document = _answered(answer, line, program)
            out.write(json.dumps(document, allow_nan=False) + "\n")
            out.flush()
            if code:
                return code
    return 0


def read_request_of(content: bytes, kinds: Mapping[str, type[_R]], *, schema: int) -> _R:
    """Read the document of a request.

    Args:
        content: The document.
        kinds: The requests that there are, by name.
        schema: The newest that is known.

    Raises:
        DataError: It is damaged, of a newer schema, or asks for something else.
    """
    fields = fields_of(content, of="the request")
    fields.schema(schema)
    request = kinds[fields.one_of("request", tuple(kinds))].read(fields)
    fields.end()
    return request


def _answered(answer: Answering, request: bytes, program: str) -> tuple[int, dict[str, Any]]:
    stages = Stages("request")
    try:
        return 0, answer(_base(program), request, stages)
    except TinsmithError as error:
        return error.exit_code, _error(error.code, error.exit_code, error.message, error.hint, stages.now)
    except Exception as error:  # noqa: BLE001 - the host must get an answer whatever went wrong here
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        return _DEFECT, _error("defect", _DEFECT, said, "report it with what stderr says", stages.now)


def _base(program: str) -> Path:
    if len(sys.argv) != 2:
        raise UsageError("one argument is taken, the folder", hint=f"python -m {program} BASE")
    return Path(sys.argv[1])


def _error(code: str, exit_code: int, message: str, hint: str, stage: str) -> dict[str, Any]:
    said = {"code": code, "exit_code": exit_code, "message": message, "hint": hint, "stage": stage}
    return {"schema": 1, "error": said}
