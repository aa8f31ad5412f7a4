"""Memory that was freed goes back to the operating system."""

from __future__ import annotations

import contextlib

__all__ = ["give_memory_back"]


def give_memory_back() -> None:
    """Ask the allocator for pages that it keeps for later; does nothing where it is not glibc's.

    glibc keeps what was freed in the arenas of the threads that freed it, so that a process which swaps models for
    weeks looks as if it leaked.
    """
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
