"""How people are told which bundle it is."""

from __future__ import annotations

__all__ = ["short_id"]

_DIGITS = 12


def short_id(file_sha256: str) -> str:
    """The id that every command shows: how the sha256 of the bundle's file begins."""
    return file_sha256[:_DIGITS]
