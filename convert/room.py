"""How much memory this process may still take, and whether a model fits into it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinsmith.convert.external_data import files_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.convert.model import Model

__all__ = ["available_bytes", "why_too_large"]

# onnxruntime holds a model's weights and, while it loads, a second copy of those that it lays out anew.
_LOADED = 2.5
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """The least of what the machine, the container and the process's own limit leave; None where nothing says it."""
    return min(_limits(), default=None)


def why_too_large(model: Model) -> str:
    """Why a model can't be run here; empty where it can, or where nobody knows.

    Args:
        model: An artifact.

    Raises:
        ModelError: Its external data are missing, or lie elsewhere.
    """
    needed = int(_LOADED * sum(file.stat().st_size for file in files_of(model)))
    available = available_bytes()
    if available is None or needed <= available:
        return ""
    return f"running {model.path.name} takes about {needed:,} bytes of memory, and {available:,} are left"


def _limits() -> Iterator[int]:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    if found:
        yield int(found[1]) << 10
    most, used = _text(_CGROUP / "memory.max").strip(), _text(_CGROUP / "memory.current").strip()
    if most.isdecimal() and used.isdecimal():
        yield max(0, int(most) - int(used))
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
