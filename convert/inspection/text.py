"""Text from files that nobody vouches for."""

from __future__ import annotations

__all__ = ["entry", "plain"]

_LONGEST_ENTRY = 64


def plain(text: bytes | str | None) -> str:
    """Text without control characters: a name in a file must not move the cursor of whoever reads it."""
    decoded = text.decode(errors="replace") if isinstance(text, bytes) else text or ""
    if decoded.isprintable():
        return decoded
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)


def entry(content: bytes) -> str:
    """A metadata entry as it is where it is short text, and else how long it is."""
    text = content.rstrip(b"\0").decode("ascii", errors="ignore")
    readable = len(text) <= _LONGEST_ENTRY and text.isprintable()
    return text if readable else f"{len(content):,} bytes"
