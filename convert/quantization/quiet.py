"""Third-party tools that log through the root logger, kept from setting up logging for the whole process."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["root_logger_left_alone"]


@contextlib.contextmanager
def root_logger_left_alone() -> Iterator[None]:
    """Have a handler in place: ``logging.info()`` and the like otherwise install one that writes to stderr for good."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
