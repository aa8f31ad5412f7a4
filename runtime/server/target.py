"""A request's target: path and query, percent-decoded."""

from __future__ import annotations

import re

from tinsmith.runtime.server.messages import Refusal

__all__ = ["split_target"]

# RFC 3986 section 3.3 and 3.4, and nothing beside it
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*")
_QUERY = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*")
_ABSOLUTE = re.compile(r"https?://[^/?]+(?=[/?]|$)", re.IGNORECASE)
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SLASH = re.compile(r"%2f", re.IGNORECASE)
_MAX_FIELDS = 100


def split_target(target: str) -> tuple[str, dict[str, str]]:
    """Path, which starts with a slash, and the query's fields, the last of a name.

    Args:
        target: As it stands in the request's first line: ``/path?query``, or the same behind a scheme and a host.

    Raises:
        Refusal: It holds what no target may, is no UTF-8 when decoded, or hides a slash or a control character (400).
    """
    if not target.startswith("/"):
        target = _without_authority(target)
    path, _, query = target.partition("?")
    if _PATH.fullmatch(path) is None or _QUERY.fullmatch(query) is None:
        raise _refused("it holds a character that must be percent-encoded")
    if _SLASH.search(path):
        raise _refused("a slash within a part of the path is not taken, encoded or not")
    return _decode(path), _query_fields(query) if query else {}


def _without_authority(target: str) -> str:
    found = _ABSOLUTE.match(target)
    if found is None:
        raise _refused("it must be a path that starts with a slash")
    rest = target[found.end() :]
    return rest if rest.startswith("/") else f"/{rest}"


def _query_fields(query: str) -> dict[str, str]:
    pairs = query.split("&")
    if len(pairs) > _MAX_FIELDS:
        raise _refused(f"its query has more than {_MAX_FIELDS} fields")
    split = (pair.partition("=") for pair in pairs if pair)
    return {_decode(name.replace("+", " ")): _decode(value.replace("+", " ")) for name, _, value in split}


def _decode(text: str) -> str:
    if "%" not in text:
        return text
    if _BROKEN.search(text):
        raise _refused("a percent sign is not followed by two hex digits")
    raw = _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), text.encode("ascii"))
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("it is no UTF-8 when decoded") from None
    if _CONTROL.search(decoded):
        raise _refused("it hides a control character")
    return decoded


def _refused(why: str) -> Refusal:
    return Refusal(400, "http", f"the request's target is malformed: {why}")
